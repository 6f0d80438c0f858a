"""Why the method works: train it with one part switched off at a time, evaluate each, and draw the comparison.

Every variant is a recipe in benchmarks/configs/ablations: the same data, frames and schedule, one setting changed.
What is finished is not done again, so a stopped comparison goes on. Prints Markdown; draws docs/images/ablation-*.png.

python benchmarks/ablations.py --data datasets/train --held-out datasets/heldout
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from actionparty.evaluation.folder import load_report
from actionparty.evaluation.records import RolloutRecord
from actionparty.evaluation.report import EvaluationReport
from actionparty.types import CELL

RECIPES = Path(__file__).parent / "configs/ablations"
ORDER = (
    "full",
    "no-spatial-bias",
    "no-subject-tokens",
    "joint-flow",
    "resolved-apart",
    "identity-from-last-frame",
    "clean-contexts",
)
WORLDS = ("collaborative_cooking__crowded", "collaborative_cooking__figure_eight")
METRICS = ("ma1_moving", "sa1_moving", "ma", "sp_mean", "duplicates", "changed_tile", "isolation", "swap")
JOINT_STEPS = 4
"""The joint flow draws whole frames: one step of it is far from enough."""
FILM = (1, 10, 50, 100, 200)
WINDOW = 10


def run(*words: str) -> None:
    """Run an actionparty command, its output shown."""
    print("actionparty", *words, flush=True)
    subprocess.run([sys.executable, "-m", "actionparty.interfaces.cli", *words], check=True)


def train(name: str, data: Path, runs: Path) -> None:
    """Train a variant, or go on with it."""
    worlds = [word for world in WORLDS for word in ("--world", world)]
    resume = ["--resume"] if (runs / name / "run.json").exists() else ["--config", str(RECIPES / f"{name}.json")]
    run("train", str(data), *worlds, *resume, "--out", str(runs / name))


def evaluate(name: str, held_out: Path, runs: Path, reports: Path) -> None:
    """Evaluate a variant, or go on with that."""
    steps = ["--update-steps", str(JOINT_STEPS)] if name == "joint-flow" else []
    run("evaluate", str(runs / name), "--data", str(held_out), *steps, "--out", str(reports / name))


def table(reports: Mapping[str, EvaluationReport]) -> str:
    """Return a Markdown table: every variant in every world, SP@200 being the mean of the last ten steps."""
    lines = [f"| variant | world | {' | '.join(METRICS)} | sp@200 |", f"|---|---|{'---|' * (len(METRICS) + 1)}"]
    for name, report in reports.items():
        for world, row in report.to_json()["worlds"].items():
            last = smooth(report.worlds[world].curves["sp"])[-1]
            cells = [f"{row[m]:.3f}" if m in row else "-" for m in METRICS]
            lines.append(
                f"| {name} | {world.removeprefix('collaborative_cooking__')} | {' | '.join(cells)} | {last:.3f} |"
            )
    return "\n".join(lines)


def smooth(curve: Sequence[float | None]) -> NDArray[np.float64]:
    """Return the running mean over ``WINDOW`` steps."""
    values = np.array([np.nan if x is None else x for x in curve])
    return np.array([np.nanmean(values[max(0, t - WINDOW + 1) : t + 1]) for t in range(len(values))])


def draw_curves(reports: Mapping[str, EvaluationReport], path: Path) -> None:
    """Draw SP and MA over the steps of the rollouts, a panel for each world and metric."""
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    axes = figure.subplots(2, len(WORLDS), sharex=True, sharey=True)
    for column, world in enumerate(WORLDS):
        for line, (metric, label) in enumerate((("sp", "subject preservation"), ("ma", "movement accuracy"))):
            axis = axes[line][column]
            for name, report in reports.items():
                axis.plot(smooth(report.worlds[world].curves[metric]), label=name, linewidth=1.4)
            axis.set(title=world if line == 0 else "", ylabel=label if column == 0 else "", ylim=(0, 1.02))
            axis.grid(alpha=0.3)
            if line:
                axis.set_xlabel("step")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    figure.savefig(path, dpi=110)


def draw_film(records: Mapping[str, RolloutRecord], path: Path, scale: int = 2) -> None:
    """Draw the first rollout of every variant at ``FILM`` steps, a row each, and the simulator in the last row."""
    rows: list[tuple[str, list[NDArray[np.uint8] | None]]] = []
    for name, record in records.items():
        shots = {s.step: s for s in record.shots if s.reason == "film" and s.rollout == 0}
        rows.append((name, [shots[t].frame if t in shots else None for t in FILM]))
        real = [shots[t].truth if t in shots else None for t in FILM]
    rows.append(("the simulator", real))
    grid = next(iter(records.values())).world.grid
    height, width = (side * CELL * scale for side in grid)
    sheet = Image.new("RGB", (150 + len(FILM) * (width + 4), 18 + len(rows) * (height + 4)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, step in enumerate(FILM):
        pen.text((150 + column * (width + 4), 3), f"step {step}", fill="black")
    for line, (name, frames) in enumerate(rows):
        pen.text((4, 18 + line * (height + 4) + height // 2 - 6), name, fill="black")
        for column, frame in enumerate(frames):
            if frame is None:
                continue
            picture = Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(picture, (150 + column * (width + 4), 18 + line * (height + 4)))
    sheet.save(path, optimize=True)


def main() -> None:
    """Read the options; train, evaluate, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("datasets/train"))
    parser.add_argument("--held-out", type=Path, default=Path("datasets/heldout"))
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--reports", type=Path, default=Path("outputs/ablations"))
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--only", nargs="*", choices=ORDER, default=ORDER, help="these variants")
    options = parser.parse_args()
    for name in options.only:
        train(name, options.data, options.runs)
    for name in options.only:
        evaluate(name, options.held_out, options.runs, options.reports)
    loaded = {name: load_report(options.reports / name) for name in options.only}
    reports = {name: report for name, (report, _) in loaded.items()}
    print(table(reports))
    draw_curves(reports, options.images / "ablation-curves.png")
    for world in WORLDS:
        records = {name: kept[world] for name, (_, kept) in loaded.items()}
        draw_film(records, options.images / f"ablation-film-{world.split('__')[-1]}.png")


if __name__ == "__main__":
    main()
