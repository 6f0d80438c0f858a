"""The training loop. Progress is counted in frames; all chance follows from (seed, frames), so a resume is exact."""

from __future__ import annotations

import csv
import math
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from actionparty.checkpoints import read_json, write_json
from actionparty.config import ModelConfig, TrainConfig, from_json, to_json
from actionparty.data.clips import WorldClips
from actionparty.errors import ActionPartyError, CheckpointError, DatasetError, InvalidInputError
from actionparty.model.network import Network
from actionparty.training.checkpoint import load_state, save_state, save_weights, start_from
from actionparty.training.objective import Objective
from actionparty.training.optim import MovingAverage, Optimizer, learning_rate

PARTS = ("loss", "state", "return", "jump", "gate", "frame", "reward")
METRICS = ("state_right", "gate_right")
"""Shares on the training batches: next states right, and changed cells found (intersection over union)."""
CURVES = (*PARTS, *METRICS)


class NonFiniteError(ActionPartyError):
    """The loss or a gradient became NaN or infinite; nothing was saved from that step."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands; handed to whoever watches."""

    frames: int
    total: int
    frames_per_second: float
    losses: Mapping[str, float]
    rate: float


def step_generator(seed: int, frames: int, device: torch.device) -> torch.Generator:
    """Return the generator of the step that starts after ``frames``: resuming needs no saved random state."""
    generator = torch.Generator(device=device)
    generator.manual_seed((seed * 1_000_003 + frames * 7919 + 12345) % (2**63))
    return generator


class Trainer:
    """One run: a network, its optimiser and average, and the worlds it learns from."""

    def __init__(
        self,
        folder: Path,
        model: ModelConfig,
        config: TrainConfig,
        worlds: Mapping[str, WorldClips],
        device: torch.device | None = None,
    ) -> None:
        if not worlds:
            raise DatasetError("nothing to train on: the dataset holds no worlds.")
        self.folder = folder
        self.config = config
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.worlds = {name: clips.to(self.device) for name, clips in sorted(worlds.items())}
        self.model = replace(model, worlds=tuple(self.worlds))
        torch.manual_seed(config.seed)
        self.network = Network(self.model).to(self.device)
        self.optimizer = Optimizer(self.network, config)
        self.average = MovingAverage(self.network, config.ema)
        self.objective = Objective(config)
        self.frames = 0
        self.steps = 0
        self.seconds = 0.0
        self.bf16 = config.bf16 == "on" or (config.bf16 == "auto" and fast_bf16(self.device))
        odds = [(math.prod(w.spec.grid) + w.spec.subjects) ** -config.sample_power for w in self.worlds.values()]
        self.odds = torch.tensor(odds, device=self.device)
        if config.compile:
            self._compile()

    def _compile(self) -> None:
        """Compile the blocks once for all sizes; worth its minutes (docs/training-log.md) in a run of hours."""
        for block in self.network.blocks():
            block.compile(dynamic=True)

    def start_from(self, folder: Path) -> list[str]:
        """Take over the weights of another checkpoint; return the names of weights that it lacks."""
        fresh = start_from(self.network, folder)
        self.average = MovingAverage(self.network, self.config.ema)
        return fresh

    def resume(self) -> bool:
        """Continue from the state in the run folder, if there is one."""
        if not (self.folder / "state.json").exists():
            return False
        progress = load_state(self.folder, self.network, self.optimizer, self.average)
        self.frames, self.steps = int(progress["frames"]), int(progress["steps"])
        self.seconds = float(progress["seconds"])
        return True

    def step(self) -> dict[str, float]:
        """Learn from one batch; return the parts of its loss."""
        generator = step_generator(self.config.seed, self.frames, self.device)
        name = list(self.worlds)[int(torch.multinomial(self.odds, 1, generator=generator))]
        world = self.worlds[name]
        batch = self.config.batch_of(math.prod(world.spec.grid), world.spec.subjects)
        shares = self.config.event_share, self.config.rare_share
        clips = world.draw(batch, self.model.context, self.model.memory, generator, *shares)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            loss, parts = self.objective(self.network, world, clips, generator)
        self._check(loss, "loss", name)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self._check(norm, "gradient", name)
        self.optimizer.step(learning_rate(self.config, self.frames))
        self.steps += 1
        self.average.follow(self.network, self.steps)
        self.frames += batch
        return {k: float(v) for k, v in parts.items()} | {"world": float(list(self.worlds).index(name))}

    def _check(self, value: torch.Tensor, what: str, world: str) -> None:
        if not bool(torch.isfinite(value)):
            raise NonFiniteError(
                f"the {what} became {float(value.detach())} on {world} after {self.frames} frames. The last saved "
                f"state in {self.folder} is from before; lower --learning-rate or train with --bf16 off."
            )

    def save(self) -> None:
        """Write the state to resume from and the averaged weights to use."""
        progress = {"frames": self.frames, "steps": self.steps, "seconds": self.seconds}
        save_state(self.folder, self.network, self.optimizer, self.average, progress)
        save_weights(self.folder / "weights", self.model, self.average.weights, self.about())

    def about(self) -> dict[str, Any]:
        """Return what the weights' ``config.json`` says of their origin."""
        return {
            "frames": self.frames,
            "seconds": round(self.seconds),
            "parameters": self.network.parameters_count,
            "train": to_json(self.config),
            "worlds": {
                name: {
                    "subjects": w.spec.subjects,
                    "grid": list(w.spec.grid),
                    "actions": list(w.spec.actions),
                    "recorded_frames": len(w.grid),
                }
                for name, w in self.worlds.items()
            },
        }

    def run(self, watch: Callable[[Progress], None] | None = None, log_every: int = 20) -> None:
        """Train until ``config.frames`` are seen, logging and saving on the way; Ctrl-C saves before it leaves."""
        log = TrainingLog(self.folder / "log.csv", self.frames)
        window: list[dict[str, float]] = []
        saved, begun, seen = time.monotonic(), time.monotonic(), self.frames
        with DeferredInterrupt() as interrupt:
            while self.frames < self.config.frames and not interrupt.asked:
                start = time.monotonic()
                window.append(self.step())
                self.seconds += time.monotonic() - start
                if len(window) == log_every or self.frames >= self.config.frames:
                    speed = (self.frames - seen) / (time.monotonic() - begun)
                    losses = averages(window)
                    rate = learning_rate(self.config, self.frames)
                    log.write(self.frames, self.seconds, speed, rate, losses)
                    if watch:
                        watch(Progress(self.frames, self.config.frames, speed, losses, rate))
                    window, begun, seen = [], time.monotonic(), self.frames
                if time.monotonic() - saved > self.config.checkpoint_seconds:
                    self.save()
                    log.plot()
                    saved = time.monotonic()
            self.save()
            log.plot()
        if interrupt.asked:
            raise KeyboardInterrupt


def averages(window: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average each of ``PARTS`` over all steps (one that a step lacks counts 0), each metric where it was measured."""
    found = {part: sum(step.get(part, 0.0) for step in window) / len(window) for part in PARTS}
    for name in METRICS:
        measured = [step[name] for step in window if math.isfinite(step.get(name, math.nan))]
        if measured:
            found[name] = sum(measured) / len(measured)
    return found


class DeferredInterrupt:
    """While entered, Ctrl-C only sets ``asked``, so that no step is cut in half; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.asked = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __enter__(self) -> DeferredInterrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._before)


class TrainingLog:
    """Loss curves as CSV, and as a PNG where matplotlib is installed."""

    def __init__(self, path: Path, frames: int) -> None:
        self.path = path
        rows = _rows(path) if path.exists() else []
        kept = [row for row in rows if float(row["frames"]) <= frames]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(kept)

    columns = ("frames", "seconds", "frames_per_second", "rate", *CURVES)

    def write(self, frames: int, seconds: float, speed: float, rate: float, losses: Mapping[str, float]) -> None:
        """Append one row."""
        values = [frames, round(seconds, 1), round(speed, 1), f"{rate:.3g}", *(_cell(losses.get(c)) for c in CURVES)]
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow(values)

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


def fast_bf16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 matrices natively (emulated, they are 40 to 500 times slower)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and _avx512_bf16()
    return False


def _avx512_bf16() -> bool:
    capability = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capability.get("avx512_bf16") or capability.get("amx_bf16") or capability.get("arm_bf16"))


def start_run(
    folder: Path,
    model: ModelConfig,
    config: TrainConfig,
    worlds: Mapping[str, WorldClips],
    *,
    resume: bool = False,
    init: Path | None = None,
) -> Trainer:
    """Make a run folder that says how to repeat it, or continue the one that is there.

    A new run may start from the weights in the checkpoint folder ``init``; what they lack starts fresh.

    Raises:
        InvalidInputError: the folder holds a run and ``resume`` is False, or something that is not a run.
        CheckpointError: the run there has another model or other worlds.
    """
    recipe = folder / "run.json"
    if folder.exists() and any(folder.iterdir()):
        if not recipe.exists():
            raise InvalidInputError(f"{folder}: exists and is not a training run; choose another --out.")
        if not resume:
            raise InvalidInputError(
                f"{folder}: holds a run already; add --resume to continue it, or choose another --out."
            )
        _check_same(folder, model, worlds)
    trainer = Trainer(folder, model, config, worlds)
    if not trainer.resume() and init is not None:
        trainer.start_from(init)
    folder.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["actionparty", *sys.argv[1:]])
    history = read_json(recipe).get("commands", []) if recipe.exists() else []
    values = {
        "model": to_json(trainer.model),
        "train": to_json(config),
        "commands": [*history, {"command": command, "from_frames": trainer.frames}],
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": str(trainer.device),
        "bf16": trainer.bf16,
    }
    write_json(recipe, values)
    return trainer


def _check_same(folder: Path, model: ModelConfig, worlds: Mapping[str, WorldClips]) -> None:
    recipe = read_json(folder / "run.json")
    if not isinstance(recipe.get("model"), dict):
        raise CheckpointError(f"{folder / 'run.json'}: does not say which model was trained; start a new run.")
    before = from_json(ModelConfig, recipe["model"])
    if replace(before, worlds=()) != replace(model, worlds=()):
        raise CheckpointError(f"{folder}: was started with another model ({before}); use the same --size.")
    if set(before.worlds) != set(worlds):
        raise CheckpointError(
            f"{folder}: was trained on {', '.join(before.worlds)}; give the same worlds to resume, or start a new run."
        )
