"""What a training run tells of itself: averages of the loss and its parts, as CSV, as curves, to whoever watches."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PARTS = ("loss", "state", "return", "jump", "gate", "frame", "tile", "reward")
METRICS = ("state_right", "gate_right", "tile_right")
"""Shares on the training batches: next states right, changed cells found (intersection over union), tiles right."""
CURVES = (*PARTS, *METRICS)


@dataclass(frozen=True)
class Progress:
    """Where a run stands; handed to whoever watches."""

    frames: int
    total: int
    frames_per_second: float
    losses: Mapping[str, float]
    rate: float


def averages(window: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average each of ``PARTS`` over all of ``window`` (one that is missing counts 0), each metric where measured."""
    found = {part: sum(entry.get(part, 0.0) for entry in window) / len(window) for part in PARTS}
    for name in METRICS:
        measured = [entry[name] for entry in window if math.isfinite(entry.get(name, math.nan))]
        if measured:
            found[name] = sum(measured) / len(measured)
    return found


class Window:
    """The steps since the last report."""

    def __init__(self, frames: int) -> None:
        self.steps: list[dict[str, float]] = []
        self._frames, self._begun = frames, time.monotonic()

    def progress(self, frames: int, total: int, rate: float) -> Progress:
        """Return where the run stands after ``frames``."""
        speed = (frames - self._frames) / (time.monotonic() - self._begun)
        return Progress(frames, total, speed, averages(self.steps), rate)


class TrainingLog:
    """Loss curves as CSV, and as a PNG where matplotlib is installed."""

    columns = ("frames", "seconds", "frames_per_second", "rate", *CURVES)

    def __init__(self, path: Path, frames: int) -> None:
        self.path = path
        rows = _rows(path) if path.exists() else []
        kept = [row for row in rows if float(row["frames"]) <= frames]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(kept)

    def write(self, seconds: float, progress: Progress) -> None:
        """Append one row; ``seconds`` is the time trained so far."""
        p = progress
        numbers = [p.frames, round(seconds, 1), round(p.frames_per_second, 1), f"{p.rate:.3g}"]
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow([*numbers, *(_cell(p.losses.get(name)) for name in CURVES)])

    def plot(self) -> None:
        """Draw ``curves.png`` beside the CSV; without matplotlib (extra ``train``) the CSV has to do."""
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            return
        rows = _rows(self.path)
        if not rows:
            return
        columns = -(-len(CURVES) // 2)
        figure = Figure(figsize=(3.5 * columns, 6), layout="constrained")
        FigureCanvasAgg(figure)
        for place, name in enumerate(CURVES, 1):
            axis = figure.add_subplot(2, columns, place)
            points = [(float(r["frames"]), max(float(r[name]), 1e-6)) for r in rows if r[name]]
            axis.plot(*zip(*points, strict=True) if points else ((), ()), linewidth=0.8)
            axis.set(title=name, xlabel="frames", yscale="linear" if name in METRICS else "log")
        temporary = self.path.with_name(".curves.png.tmp")
        figure.savefig(temporary, dpi=100, format="png")
        temporary.replace(self.path.with_name("curves.png"))


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row.get(PARTS[-1])]
