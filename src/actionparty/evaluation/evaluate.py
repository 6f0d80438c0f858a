"""Evaluate a generated world against held-out recordings: plan the starts, run, and make the report.

Knows generated worlds only as ``BatchRollout``; whoever calls says how to make one for a world. With a folder, each
finished part is kept there at once and never measured again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from actionparty.data.recording import FIRST_EVALUATION_SEED
from actionparty.errors import InvalidInputError, unknown_name
from actionparty.evaluation.bootstrap import Ratio
from actionparty.evaluation.detector import Detector, folded_accuracy
from actionparty.evaluation.folder import ReportFolder, describe_run
from actionparty.evaluation.labels import TileLabels, build_labels, join_labels
from actionparty.evaluation.onestep import Tallies, probe_steps, score_steps
from actionparty.evaluation.records import RolloutRecord, StepRecord
from actionparty.evaluation.report import EvaluationReport, WorldResult
from actionparty.evaluation.rollouts import BatchRollout, Perceptual, RolloutPlan, Start, score_rollouts
from actionparty.evaluation.summary import world_result
from actionparty.types import SCENE_ROWS, Episode, WorldSpec

HELD_OUT = FIRST_EVALUATION_SEED
"""Seeds from here on are never trained on."""
FIRST_ROLLOUT_ROW, FIRST_STEP_ROW = 2, 1
"""The earliest rows from which rollouts and single steps start."""
Progress = Callable[[str, int, int], None]
"""Told the world, the generated frames done, and their final number."""
Make = Callable[[WorldSpec], BatchRollout]


@dataclass(frozen=True)
class EvaluationSettings:
    """How much is measured, and from which context the model starts."""

    rollouts: int = 20
    horizon: int = 200
    steps_per_episode: int = 32
    """One-step predictions from real contexts in each held-out episode."""
    probes_per_episode: int = 16
    """How many of those are predicted again with one action, or two, changed."""
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


def evaluate(
    make: Make,
    episodes: Mapping[str, Sequence[Episode]],
    labels: Mapping[str, TileLabels],
    settings: EvaluationSettings,
    *,
    checkpoint: str,
    name: str = "",
    data: str = "",
    labelled_here: Collection[str] = (),
    model_settings: Mapping[str, Any] | None = None,
    perceptual: Perceptual | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
    on_world: Callable[[WorldResult], None] | None = None,
) -> EvaluationReport:
    """Evaluate every world of ``episodes`` (held-out recordings by world), and report.

    Args:
        make: gives the generated world for a specification.
        labels: labelled tiles by world.
        checkpoint: SHA-256 of the weights, for the report.
        name: what the user calls the checkpoint.
        data: the dataset that the user named, if any; for the report.
        labelled_here: worlds whose labels were built from these very episodes.
        model_settings: sampling steps, snapping and the like, for the report.
        out: folder that keeps every finished part and the report; what is finished there is not measured again.
        on_world: told each result as soon as it is there.

    Raises:
        InvalidInputError: a recording with a training seed, or too short; labels for another number of subjects;
            ``out`` is not of this evaluation.
        DatasetError: another process evaluates into ``out``.
        UnknownNameError: a world without labels.
    """
    for world, recorded in episodes.items():
        check_held_out(world, recorded, settings.allow_training_seeds)
        if world not in labels:
            raise unknown_name("world with tile labels", world, labels)
        check_labels(world, recorded, labels[world])
    sources = {world: "held-out" if world in labelled_here else "shipped" for world in episodes}
    named = {**asdict(settings), **(model_settings or {}), "labels": sources}
    folder = ReportFolder.start(out, describe_run(checkpoint, name, named, episodes, labels, data)) if out else None
    results = {}
    with folder.held() if folder is not None else nullcontext():
        for world, recorded in episodes.items():
            bench = _Bench(make, recorded, labels[world], world not in labelled_here, settings, perceptual)
            results[world] = evaluate_world(bench, folder, progress)
            if on_world is not None:
                on_world(results[world])
        report = EvaluationReport(checkpoint, named, results)
        if folder is not None:
            folder.finish(report)
    return report


def check_labels(world: str, episodes: Sequence[Episode], labels: TileLabels) -> None:
    """Raise ``InvalidInputError`` where labels are of another number of subjects than the recordings."""
    subjects = episodes[0].world.subjects
    if labels.subjects != subjects:
        raise InvalidInputError(
            f"{world}: its tile labels are of {labels.subjects} subjects, but the held-out episodes have {subjects}. "
            "Evaluate on episodes with as many subjects, or on weights without labels of this world."
        )


def check_held_out(world: str, episodes: Sequence[Episode], allow_training_seeds: bool) -> None:
    """Raise ``InvalidInputError`` unless these are usable held-out recordings of ``world``."""
    if not episodes:
        raise InvalidInputError(f"{world}: no held-out episode. Record some with --seed {HELD_OUT} or above.")
    for episode in episodes:
        if episode.seed < HELD_OUT and not allow_training_seeds:
            raise InvalidInputError(
                f"{world}: episode with seed {episode.seed} may have been trained on. Evaluate on seeds from "
                f"{HELD_OUT} on, or allow training seeds explicitly."
            )
        if len(episode) < 3:
            raise InvalidInputError(
                f"{world}: the episode with seed {episode.seed} has {len(episode)} rows; at least 3 are needed."
            )
        if episode.world.subjects != episodes[0].world.subjects or episode.world.grid != episodes[0].world.grid:
            raise InvalidInputError(f"{world}: held-out episodes differ in number of subjects or in size.")


@dataclass(frozen=True)
class _Bench:
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
        return self.episodes[0].world

    @property
    def plan(self) -> RolloutPlan:
        return self.settings.plan(self.spec.name)

    @cached_property
    def world(self) -> BatchRollout:
        return self.make(self.spec)

    @cached_property
    def detector(self) -> Detector:
        redrawn = self.known.redrawn
        return Detector(join_labels(self.known, build_labels(self.episodes, redrawn=True)) if redrawn else self.known)

    def starts(self, per_episode: int) -> list[Start]:
        return step_starts(self.episodes, per_episode)


def evaluate_world(bench: _Bench, folder: ReportFolder | None, progress: Progress | None = None) -> WorldResult:
    """Measure one world: the detector on real frames, single steps with probes, then rollouts."""
    settings, name = bench.settings, bench.spec.name
    starts = rollout_starts(bench.episodes, settings.rollouts)
    singles, probed = bench.starts(settings.steps_per_episode), bench.starts(settings.probes_per_episode)
    ticker = _Ticker(name, len(starts) * settings.horizon + len(singles) + 3 * len(probed), progress)
    if folder is not None and folder.steps_path(name).exists():
        steps = folder.steps(name)
        ticker(len(singles) + 3 * len(probed))
    else:
        steps = _measure_steps(bench, singles, probed, ticker)
        if folder is not None:
            steps.save(folder.steps_path(name))
    parts = []
    for k, chunk in enumerate(_chunks(starts, settings.batch)):
        path = folder.rollouts_path(name, k) if folder is not None else None
        parts.append(_rollouts(bench, chunk, k * settings.batch, path, ticker))
    return world_result(steps, RolloutRecord.joined(parts), bench.plan.deterministic)


def _measure_steps(bench: _Bench, singles: Sequence[Start], probed: Sequence[Start], ticker: _Ticker) -> StepRecord:
    episodes, detector = bench.episodes, bench.detector
    tallies = Tallies(len(episodes))
    for chunk in _chunks(singles, bench.settings.batch):
        score_steps(bench.world, episodes, chunk, detector, bench.plan, tallies)
        ticker(len(chunk))
    for chunk in _chunks(probed, bench.settings.batch):
        probe_steps(bench.world, episodes, chunk, detector, bench.plan, tallies)
        ticker(3 * len(chunk))
    accuracy = Ratio.of(*folded_accuracy(bench.known, episodes, bench.shipped))
    ratios = {"detector": accuracy, **tallies.ratios()}
    return StepRecord(bench.spec, np.array([e.seed for e in episodes]), ratios, _notes(detector.labels, bench.shipped))


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


def _rollouts(bench: _Bench, chunk: Sequence[Start], first: int, path: Path | None, ticker: _Ticker) -> RolloutRecord:
    """Return the rollouts of ``chunk``, from ``path`` where they are there."""
    if path is not None and path.exists():
        record = RolloutRecord.load(path)
        ticker(len(chunk) * bench.settings.horizon)
        return record
    record = score_rollouts(
        *(bench.world, bench.episodes, chunk, bench.detector, bench.plan, ticker),
        first=first,
        perceptual=bench.perceptual,
    )
    if path is not None:
        record.save(path)
    return record


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
    """Return evenly spread rows, at most ``per_episode`` in each episode, from which one step is predicted."""
    out = []
    for k, episode in enumerate(episodes):
        first = min(FIRST_STEP_ROW, len(episode) - 2)
        rows = np.unique(np.rint(np.linspace(first, len(episode) - 2, per_episode)))
        out += [Start(k, int(row)) for row in rows]
    return out


class _Ticker:
    """Counts generated frames and tells the caller."""

    def __init__(self, world: str, total: int, progress: Progress | None) -> None:
        self._world, self._total, self._progress, self._done = world, total, progress, 0

    def __call__(self, frames: int) -> None:
        self._done += frames
        if self._progress is not None:
            self._progress(self._world, self._done, self._total)


def _chunks(starts: Sequence[Start], size: int) -> Iterable[Sequence[Start]]:
    return (starts[i : i + size] for i in range(0, len(starts), size))
