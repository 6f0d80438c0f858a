"""The training loop. Progress is counted in frames; all chance follows from (seed, frames), so a resume is exact.

One step learns from ``worlds_per_step`` batches of one world each. They are dealt out to the processes of the run, and
the weights follow the mean of their gradients: however many processes there are, they learn the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from actionparty.checkpoints import WEIGHTS, about
from actionparty.config import ModelConfig, TrainConfig, to_json
from actionparty.data.clips import Clips, WorldClips
from actionparty.engines.halved import native_bf16
from actionparty.errors import DatasetError, InvalidInputError, unknown_name
from actionparty.model.chances import Chances
from actionparty.model.network import Network
from actionparty.model.palette import MOST_TILES
from actionparty.training.ancestry import KEY as ANCESTRY
from actionparty.training.ancestry import Ancestry, descend
from actionparty.training.chances import fit_chances
from actionparty.training.checkpoint import load_network, load_state, save_state, save_weights, start_from
from actionparty.training.failures import NonFiniteError, explained
from actionparty.training.interrupt import DeferredInterrupt
from actionparty.training.log import CURVES, Progress, TrainingLog, Window, averages
from actionparty.training.objective import Objective, world_tiles
from actionparty.training.optim import MovingAverage, Optimizer, learning_rate
from actionparty.training.processes import Processes

Batch = dict[str, float]
"""What is known of one batch of a step: the number of its world, its frames, and those of ``CURVES`` that it has."""
_COLUMNS = ("world", "frames", *CURVES)


def batch_generator(seed: int, frames: int, batch: int, device: torch.device) -> torch.Generator:
    """Return the generator of one batch of the step after ``frames``: resuming needs no saved random state."""
    generator = torch.Generator(device=device)
    generator.manual_seed((seed * 1_000_003 + frames * 7919 + 12345 + batch * 2_654_435_761) % (2**63))
    return generator


class Learner(nn.Module):
    """A network and its objective as one module, so that gradients can be averaged over processes."""

    def __init__(self, network: Network, objective: Objective) -> None:
        super().__init__()
        self.network = network
        self.objective = objective

    def forward(self, world: WorldClips, clips: Clips, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss on ``clips``, and its parts and metrics, detached."""
        return self.objective(self.network, world, clips, generator)


def world_odds(worlds: Mapping[str, WorldClips], config: TrainConfig) -> list[float]:
    """Return the odds of drawing each of ``worlds``; raise ``UnknownNameError`` where the recipe names another."""
    for name in config.world_odds:
        if name not in worlds:
            raise unknown_name("world in world_odds", name, worlds)
    sizes = {name: math.prod(w.spec.grid) + w.spec.subjects for name, w in worlds.items()}
    odds = [config.world_odds.get(name, 1.0) * size**-config.sample_power for name, size in sizes.items()]
    if not sum(odds) > 0:
        raise InvalidInputError("train config: world_odds leaves no world to learn from.")
    return odds


class Trainer:
    """One run: a network, its optimiser and average, and the worlds it learns from."""

    def __init__(
        self,
        folder: Path,
        model: ModelConfig,
        config: TrainConfig,
        worlds: Mapping[str, WorldClips],
        device: torch.device | None = None,
        processes: Processes | None = None,
    ) -> None:
        if not worlds:
            raise DatasetError("nothing to train on: the dataset holds no worlds.")
        self.folder = folder
        self.config = config
        self.processes = processes or Processes()
        self.share = self.processes.share(config.worlds_per_step)
        self.device = device or self.processes.device
        self.worlds = {name: clips.to(self.device) for name, clips in sorted(worlds.items())}
        self.model = replace(model, worlds=tuple(self.worlds))
        torch.manual_seed(config.seed)
        self.network = Network(self.model).to(self.device)
        if config.learn == "heads":
            self.network.requires_grad_(False).heads.requires_grad_(True)
        self.optimizer = Optimizer(self.network, config)
        self.average = MovingAverage(self.network, config.ema)
        self.learner = Learner(self.network, Objective(config))
        self.parallel = self.processes.parallel(self.learner)
        self.frames = 0
        self.steps = 0
        self.seconds = 0.0
        self.chances: dict[str, Chances] = {}
        """Fitted to the weights as they are now; empty while they still learn"""
        self.ancestry = Ancestry()
        self.bf16 = config.bf16 == "on" or (config.bf16 == "auto" and native_bf16(self.device))
        self.odds = torch.tensor(world_odds(self.worlds, config), device=self.device)
        if config.compile:
            self._compile()

    def _compile(self) -> None:
        """Compile the blocks once for all sizes; worth its minutes (docs/training-log.md) in a run of hours."""
        for block in self.network.blocks():
            block.compile(dynamic=True)

    def start_from(self, folder: Path) -> list[str]:
        """Take over the weights of another checkpoint; return the names of weights that it lacks."""
        fresh = start_from(self.network, folder)
        self.ancestry = descend(folder)
        self.average = MovingAverage(self.network, self.config.ema)
        return fresh

    def resume(self) -> bool:
        """Continue from the state in the run folder, if there is one."""
        if not (self.folder / "state.json").exists():
            return False
        progress = load_state(self.folder, self.network, self.optimizer, self.average)
        self.frames, self.steps = int(progress["frames"]), int(progress["steps"])
        self.seconds = float(progress["seconds"])
        weights = self.folder / "weights"
        if self.frames >= self.config.frames and (weights / WEIGHTS).exists():  # perhaps it was stopped while it fitted
            self.chances = load_network(weights).chances if about(weights).get("frames") == self.frames else {}
        return True

    def check_same(self) -> None:
        """Make sure that all processes train the same: raises ``InvalidInputError`` where one would not."""
        facts: dict[str, Any] = {"settings": self.config, "model": self.model, "saved frames": self.frames}
        facts |= {"recorded frames": {name: len(world) for name, world in self.worlds.items()}, "bf16": self.bf16}
        self.processes.check_same(facts)

    def step(self) -> dict[str, float]:
        """Learn from ``worlds_per_step`` batches, this process from its share; return the parts of their mean loss."""
        self.optimizer.zero_grad()
        self.chances = {}
        table = torch.zeros(self.config.worlds_per_step, len(_COLUMNS), dtype=torch.float64, device=self.device)
        for batch in self.share[:-1]:
            with self.processes.alone(self.parallel):
                self._learn(batch, table[batch])
        self._learn(self.share[-1], table[self.share[-1]])
        batches = self._gathered(table)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self._check(float(norm), "gradient", batches)
        self.optimizer.step(learning_rate(self.config, self.frames))
        self.steps += 1
        self.average.follow(self.network, self.steps)
        self.frames += int(sum(batch["frames"] for batch in batches))
        return averages(batches)

    def _learn(self, batch: int, row: Tensor) -> None:
        """Add the gradients of one batch, and write what is known of it to ``row``, in the order of ``_COLUMNS``."""
        generator = batch_generator(self.config.seed, self.frames, batch, self.device)
        index = int(torch.multinomial(self.odds, 1, generator=generator))
        world = list(self.worlds.values())[index]
        size = self.config.batch_of(math.prod(world.spec.grid), world.spec.subjects)
        shares = self.config.event_share, self.config.rare_share
        clips = world.draw(size, self.model.context, self.model.memory, generator, *shares)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            loss, parts = self.parallel(world, clips, generator)
        (loss / len(self.share)).backward()
        row.fill_(math.nan)
        for column, value in ({"world": index, "frames": size} | parts | {"loss": loss.detach()}).items():
            row[_COLUMNS.index(column)] = value

    def _gathered(self, table: Tensor) -> list[Batch]:
        """Return what all processes know of all batches of a step; raises ``NonFiniteError`` where a loss is not."""
        rows = self.processes.total(table).tolist()
        named = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        for batch in named:
            self._check(batch["loss"], "loss", [batch])
        return [{name: value for name, value in batch.items() if not math.isnan(value)} for batch in named]

    def _check(self, value: float, what: str, batches: Sequence[Batch]) -> None:
        if not math.isfinite(value):
            names = list(self.worlds)
            worlds = ", ".join(sorted({names[int(batch["world"])] for batch in batches}))
            raise NonFiniteError(
                f"the {what} became {value} on {worlds} after {self.frames} frames. The last saved "
                f"state in {self.folder} is from before; lower --learning-rate or train with --bf16 off."
            )

    def save(self) -> None:
        """Write the state to resume from and the averaged weights to use."""
        progress = {"frames": self.frames, "steps": self.steps, "seconds": self.seconds}
        save_state(self.folder, self.network, self.optimizer, self.average, progress)
        self._save_weights()

    def finish(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Write the weights again with what is fitted to the recordings once they are learned: the chances.

        Once ``stop`` says so, what is fitted by then is written, within a batch; the next call fits the rest.
        """
        network = Network(self.model).to(self.device).eval()
        network.load_state_dict(self.average.weights)
        saved = time.monotonic()
        for name, world in self.worlds.items():
            if name in self.chances or stop():
                continue
            generator = torch.Generator(device=self.device).manual_seed(self.config.seed)
            odds = fit_chances(network, world, self.config.chance_rows, generator, stop)
            if odds is not None:
                self.chances[name] = odds
            if time.monotonic() - saved > self.config.checkpoint_seconds:
                self._save_weights()
                saved = time.monotonic()
        self._save_weights()

    def _save_weights(self) -> None:
        worlds = {name: world for name, world in self.worlds.items() if len(world.tiles) <= MOST_TILES}
        palettes = {name: world_tiles(world) for name, world in worlds.items()}
        save_weights(self.folder / "weights", self.model, self.average.weights, self.about(), palettes, self.chances)

    def about(self) -> dict[str, Any]:
        """Return what the weights' ``config.json`` says of their origin."""
        return {
            "frames": self.frames,
            "seconds": round(self.seconds),
            "parameters": self.network.parameters_count,
            ANCESTRY: self.ancestry.to_json(),
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
        """Train until ``config.frames`` are seen, logging and saving on the way; Ctrl-C saves before it leaves.

        Only the main process logs, saves and calls ``watch``; a Ctrl-C of any process ends all.

        Raises:
            NonFiniteError, OutOfMemoryError, LostProcessError: the run can be resumed from its last saved state.
        """
        log = TrainingLog(self.folder / "log.csv", self.frames) if self.processes.main else None
        with explained(self.config), DeferredInterrupt() as interrupt:
            saved = time.monotonic()
            stopped, due = self.processes.agree(interrupt.asked, False)
            window = Window(self.frames)
            while self.frames < self.config.frames and not stopped:
                start = time.monotonic()
                window.steps.append(self.step())
                self.seconds += time.monotonic() - start
                if len(window.steps) == log_every or self.frames >= self.config.frames:
                    self._report(window, log, watch)
                    window = Window(self.frames)
                late = time.monotonic() - saved > self.config.checkpoint_seconds
                stopped, due = self.processes.agree(interrupt.asked, self.processes.main and late)
                if due:
                    self._save(log)
                    saved = time.monotonic()
            self._save(log)
            if self.frames >= self.config.frames and self.config.chance_rows:
                self.processes.main_only(lambda: self.finish(lambda: interrupt.asked))
            stopped, _ = self.processes.agree(interrupt.asked, False)
        if stopped:
            raise KeyboardInterrupt

    def _report(self, window: Window, log: TrainingLog | None, watch: Callable[[Progress], None] | None) -> None:
        rate = learning_rate(self.config, self.frames)
        progress = window.progress(self.frames, self.config.frames, rate)
        if log is not None:
            log.write(self.seconds, progress)
            if watch:
                watch(progress)

    def _save(self, log: TrainingLog | None) -> None:
        self.processes.main_only(self.save)
        if log is not None:
            log.plot()
