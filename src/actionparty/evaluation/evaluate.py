"""Evaluate a generated world against held-out recordings: plan the starts, run, and make the report.

Knows generated worlds only as ``BatchRollout``; whoever calls says how to make one for a world.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from actionparty.data.recording import FIRST_EVALUATION_SEED
from actionparty.errors import InvalidInputError, unknown_name
from actionparty.evaluation.bootstrap import Ratio
from actionparty.evaluation.detector import ACCURATE, Detector, detector_accuracy
from actionparty.evaluation.labels import TileLabels, build_labels, join_labels
from actionparty.evaluation.onestep import Tallies, probe_steps, score_steps
from actionparty.evaluation.report import EvaluationReport, WorldResult
from actionparty.evaluation.rollouts import (
    BatchRollout,
    Curves,
    RolloutPlan,
    Start,
    score_rollouts,
    sp_ratios,
    sync_horizon,
)
from actionparty.types import SCENE_ROWS, Episode, WorldSpec

HELD_OUT = FIRST_EVALUATION_SEED
"""Seeds from here on are never trained on."""
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
    model_settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    on_world: Callable[[WorldResult], None] | None = None,
) -> EvaluationReport:
    """Evaluate every world of ``episodes`` (held-out recordings by world), and report.

    Args:
        make: gives the generated world for a specification.
        labels: labelled tiles by world.
        checkpoint: SHA-256 of the weights, for the report.
        model_settings: sampling steps, snapping and the like, for the report.
        on_world: told each result as soon as it is there.

    Raises:
        InvalidInputError: a recording with a training seed, or too short.
        UnknownNameError: a world without labels.
    """
    for world, recorded in episodes.items():
        check_held_out(world, recorded, settings.allow_training_seeds)
        if world not in labels:
            raise unknown_name("world with tile labels", world, labels)
    results = {}
    for world, recorded in episodes.items():
        results[world] = evaluate_world(make(recorded[0].world), recorded, labels[world], settings, progress)
        if on_world is not None:
            on_world(results[world])
    return EvaluationReport(checkpoint, {**asdict(settings), **(model_settings or {})}, results)


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


def evaluate_world(
    world: BatchRollout,
    episodes: Sequence[Episode],
    labels: TileLabels,
    settings: EvaluationSettings,
    progress: Progress | None = None,
) -> WorldResult:
    """Measure one world: the detector on real frames, single steps with probes, then rollouts."""
    spec = episodes[0].world
    if labels.redrawn:
        labels = join_labels(labels, build_labels(episodes, redrawn=True))
    detector = Detector(labels)
    starts = rollout_starts(episodes, settings.rollouts, settings.context)
    singles = step_starts(episodes, settings.steps_per_episode, settings.context)
    probed = step_starts(episodes, settings.probes_per_episode, settings.context)
    ticker = _Ticker(spec.name, len(starts) * settings.horizon + len(singles) + 3 * len(probed), progress)
    ratios = {"detector": Ratio.of(*detector_accuracy(detector, episodes))}
    tallies = Tallies(len(episodes))
    plan = settings.plan(spec.name)
    for chunk in _chunks(singles, settings.batch):
        score_steps(world, episodes, chunk, detector, plan, tallies)
        ticker(len(chunk))
    for chunk in _chunks(probed, settings.batch):
        probe_steps(world, episodes, chunk, detector, plan, tallies)
        ticker(3 * len(chunk))
    parts = [score_rollouts(world, episodes, c, detector, plan, ticker) for c in _chunks(starts, settings.batch)]
    curves = Curves.joined(parts)
    ratios |= tallies.ratios() | _rollout_ratios(curves, plan)
    seeds = [e.seed for e in episodes]
    return WorldResult(
        spec.name,
        spec.subjects,
        len(starts),
        settings.horizon,
        (min(seeds), max(seeds)),
        ratios,
        sp_ratios(curves),
        {name: _plain(curves.curve(name)) for name in ("sp", "dr", "ma", "alive", "alive_real")},
        _notes(ratios, len(starts), labels),
    )


def rollout_starts(episodes: Sequence[Episode], rollouts: int, context: int) -> list[Start]:
    """Return where ``rollouts`` rollouts start: one in every episode, early, before a second in any, further on."""
    turns = -(-rollouts // len(episodes))
    out = []
    for k in range(rollouts):
        episode, turn = k % len(episodes), k // len(episodes)
        first = min(context, len(episodes[episode]) - 2)
        out.append(Start(episode, first + turn * (len(episodes[episode]) - 1 - first) // turns))
    return out


def step_starts(episodes: Sequence[Episode], per_episode: int, context: int) -> list[Start]:
    """Return evenly spread rows, at most ``per_episode`` in each episode, from which one step is predicted."""
    out = []
    for k, episode in enumerate(episodes):
        first = min(context - 1, len(episode) - 2)
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


def _rollout_ratios(curves: Curves, plan: RolloutPlan) -> dict[str, Ratio]:
    names = ("ma", "dr", "duplicates", "alive", "alive_real", "state", "nan_frames", "psnr", "ssim")
    ratios = {name: curves.ratio(name) for name in names if name in curves.right}
    ratios["sp_mean"] = curves.ratio("sp")
    if plan.deterministic:
        steps = sync_horizon(curves)
        median = float(np.median(steps))
        ratios["sync_horizon"] = Ratio.of([median], [1])
    return ratios


def _plain(curve: np.ndarray[Any, np.dtype[np.float64]]) -> list[float | None]:
    return [None if np.isnan(x) else float(x) for x in curve]


def _notes(ratios: Mapping[str, Ratio], rollouts: int, labels: TileLabels) -> tuple[str, ...]:
    notes = []
    for _, members in labels.groups():
        who = ", ".join(map(str, members))
        notes.append(f"the world draws subjects {who} alike; in its frames they are told apart by the model's states.")
    accuracy, nan = ratios["detector"].value, ratios["nan_frames"].value
    if accuracy is not None and accuracy < ACCURATE:
        notes.append(
            f"the detector finds {accuracy:.4f} of the subjects in real frames, which limits what pixels can show."
        )
    if nan:
        notes.append(f"{nan:.4f} of the generated frames were not finite; everybody in them counts as lost.")
    if rollouts < 2:
        notes.append("one rollout only: no intervals.")
    return tuple(notes)
