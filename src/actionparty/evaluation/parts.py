"""The parts of an evaluation: what of one world is measured, and kept, by itself; and what measures them here.

A part needs nothing of the others, so they may be measured in any order and anywhere (``ray_parts``). Knows no folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from actionparty.errors import InvalidInputError
from actionparty.evaluation.bootstrap import Ratio
from actionparty.evaluation.detector import Detector, folded_accuracy
from actionparty.evaluation.labels import TileLabels, build_labels, join_labels
from actionparty.evaluation.onestep import Tallies, probe_steps, score_rewards, score_steps
from actionparty.evaluation.records import RolloutRecord, StepRecord
from actionparty.evaluation.rewarded import weighed
from actionparty.evaluation.rollouts import BatchRollout, Perceptual, RolloutPlan, Start, score_rollouts
from actionparty.types import SCENE_ROWS, Episode, WorldSpec

FIRST_ROLLOUT_ROW, FIRST_STEP_ROW = 2, 1
"""The earliest rows from which rollouts and single steps start."""
Make = Callable[[WorldSpec], BatchRollout]
Record = StepRecord | RolloutRecord


@dataclass(frozen=True)
class EvaluationSettings:
    """How much is measured, and from which context the model starts."""

    rollouts: int = 20
    horizon: int = 200
    steps_per_episode: int = 32
    """One-step predictions from real contexts in each held-out episode."""
    probes_per_episode: int = 16
    """How many of those are predicted again with one action, or two, changed."""
    rewarded_per_episode: int = 32
    """One-step predictions beside those, of rewards alone, from contexts that lead to one, in each held-out episode."""
    batch: int = 20
    seed: int = 0
    context: int = 2
    """Frames of a scene; the model's."""
    memory: int = SCENE_ROWS
    """Rows of states of a scene; the model's."""
    similarity_every: int = 10
    deterministic: tuple[str, ...] = ()
    """Worlds without chance events, for which the sync horizon is given."""
    allow_training_seeds: bool = False

    def __post_init__(self) -> None:
        for name in ("rollouts", "horizon", "steps_per_episode", "batch", "context", "memory", "similarity_every"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"evaluation: {name} must be at least 1, but is {getattr(self, name)}.")

    def plan(self, world: str) -> RolloutPlan:
        """Return how the rollouts of ``world`` are run."""
        chanceless = world in self.deterministic
        return RolloutPlan(self.horizon, self.context, self.memory, self.seed, self.similarity_every, chanceless)


@dataclass(frozen=True)
class Bench:
    """One world with all that it is measured with; what takes long to make is made when it is needed."""

    make: Make
    episodes: Sequence[Episode]
    known: TileLabels
    shipped: bool
    """Whether the labels come from other recordings than these episodes."""
    settings: EvaluationSettings
    perceptual: Perceptual | None

    @property
    def spec(self) -> WorldSpec:
        """The world."""
        return self.episodes[0].world

    @property
    def plan(self) -> RolloutPlan:
        """How its rollouts are run."""
        return self.settings.plan(self.spec.name)

    @cached_property
    def world(self) -> BatchRollout:
        """The generated world."""
        return self.make(self.spec)

    @cached_property
    def detector(self) -> Detector:
        """Who tells the subjects in its frames."""
        redrawn = self.known.redrawn
        return Detector(join_labels(self.known, build_labels(self.episodes, redrawn=True)) if redrawn else self.known)

    @property
    def singles(self) -> list[Start]:
        """Where single steps start."""
        return self._weighed[0]

    @property
    def rewarded(self) -> list[Start]:
        """Where single steps start that only rewards and ends are scored of."""
        return self._weighed[1]

    @cached_property
    def _weighed(self) -> tuple[list[Start], list[Start]]:
        spread = step_starts(self.episodes, self.settings.steps_per_episode)
        return weighed(self.episodes, spread, self.settings.rewarded_per_episode)

    @property
    def probed(self) -> list[Start]:
        """Where single steps start that are predicted again with changed actions."""
        return step_starts(self.episodes, self.settings.probes_per_episode)

    def batch(self, k: int) -> Sequence[Start]:
        """Return where the rollouts of batch ``k`` start."""
        size = self.settings.batch
        return rollout_starts(self.episodes, self.settings.rollouts)[k * size : (k + 1) * size]

    def parts(self) -> list[Part]:
        """Return all that is measured of this world."""
        batches = -(-self.settings.rollouts // self.settings.batch)
        return [Part(self, None), *(Part(self, k) for k in range(batches))]


@dataclass(frozen=True)
class Part:
    """What is measured, and kept, by itself: a batch of rollouts, or with ``batch`` None the single steps."""

    bench: Bench
    batch: int | None

    @property
    def world(self) -> str:
        """The name of its world."""
        return self.bench.spec.name

    @property
    def frames(self) -> int:
        """How many frames it generates."""
        if self.batch is None:
            return len(self.bench.singles) + len(self.bench.rewarded) + 3 * len(self.bench.probed)
        return len(self.bench.batch(self.batch)) * self.bench.settings.horizon

    def measure(self, tick: Callable[[int], None]) -> Record:
        """Generate and score; ``tick`` is told the number of frames done."""
        if self.batch is None:
            return _measure_steps(self.bench, tick)
        bench, first = self.bench, self.batch * self.bench.settings.batch
        return score_rollouts(
            *(bench.world, bench.episodes, bench.batch(self.batch), bench.detector, bench.plan, tick),
            first=first,
            perceptual=bench.perceptual,
        )


Tick = Callable[[Part, int], None]
"""Told a part and how many more of its frames are done."""
Measure = Callable[[Sequence[Part], Tick], Iterator[tuple[Part, Record]]]
"""Measures parts and gives each with its record as soon as it is finished, in any order."""


def measure_here(parts: Sequence[Part], tick: Tick) -> Iterator[tuple[Part, Record]]:
    """Measure one part after the other, in this process."""
    for part in parts:
        yield part, part.measure(partial(tick, part))


def _measure_steps(bench: Bench, tick: Callable[[int], None]) -> StepRecord:
    episodes, detector = bench.episodes, bench.detector
    tallies = Tallies(len(episodes))
    for chunk in _chunks(bench.singles, bench.settings.batch):
        score_steps(bench.world, episodes, chunk, detector, bench.plan, tallies)
        tick(len(chunk))
    for chunk in _chunks(bench.rewarded, bench.settings.batch):
        score_rewards(bench.world, episodes, chunk, bench.plan, tallies)
        tick(len(chunk))
    for chunk in _chunks(bench.probed, bench.settings.batch):
        probe_steps(bench.world, episodes, chunk, detector, bench.plan, tallies)
        tick(3 * len(chunk))
    accuracy = Ratio.of(*folded_accuracy(bench.known, episodes, bench.shipped))
    ratios = {"detector": accuracy, **tallies.ratios()}
    seeds, notes = np.array([e.seed for e in episodes]), _notes(detector.labels, bench.shipped)
    return StepRecord(bench.spec, seeds, ratios, notes, tallies.rankings())


def _notes(labels: TileLabels, shipped: bool) -> tuple[str, ...]:
    alike = (", ".join(map(str, members)) for _, members in labels.groups())
    notes = [
        f"the world draws subjects {who} alike; in its frames they are told apart by the model's states, and in the "
        "real frames of the detector's figure by the recorded states."
        for who in alike
    ]
    if not shipped:
        notes.append(
            "no labels of this world came with the weights: the held-out episodes themselves label its tiles; the "
            "detector's figure is of frames that did not."
        )
    elif labels.redrawn:
        notes.append(
            "looks are redrawn in every episode: the held-out episodes label tiles beside the shipped labels; the "
            "detector's figure is of the second half of each episode, by labels from the first."
        )
    return tuple(notes)


def rollout_starts(episodes: Sequence[Episode], rollouts: int) -> list[Start]:
    """Return where ``rollouts`` rollouts start: one in every episode, early, before a second in any, further on.

    The same for every model, however many frames its context has: scenes are padded at the front.
    """
    turns = -(-rollouts // len(episodes))
    out = []
    for k in range(rollouts):
        episode, turn = k % len(episodes), k // len(episodes)
        first = min(FIRST_ROLLOUT_ROW, len(episodes[episode]) - 2)
        out.append(Start(episode, first + turn * (len(episodes[episode]) - 1 - first) // turns))
    return out


def step_starts(episodes: Sequence[Episode], per_episode: int) -> list[Start]:
    """Return evenly spread rows, at most ``per_episode`` in each episode, from which one step is predicted.

    With two or more in each, one of them leads into the last row: where the world ended, the end is among them.
    """
    out = []
    for k, episode in enumerate(episodes):
        first = min(FIRST_STEP_ROW, len(episode) - 2)
        rows = np.unique(np.rint(np.linspace(first, len(episode) - 2, per_episode)))
        out += [Start(k, int(row)) for row in rows]
    return out


def _chunks(starts: Sequence[Start], size: int) -> Iterable[Sequence[Start]]:
    return (starts[i : i + size] for i in range(0, len(starts), size))
