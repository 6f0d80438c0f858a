"""What happened in an evaluation, as arrays: every metric is computed from these, and they are what is kept on disk.

A record holds no frames but the few that are shown to people. It knows no model, no detector and no metric.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from actionparty.evaluation.agreement import AveragePrecision
from actionparty.evaluation.bootstrap import Ratio, Sums
from actionparty.evaluation.record_files import damaged, read_arrays, write_arrays
from actionparty.types import Bools, Floats, Frame, Ints, SubjectStates, WorldSpec

FILM_STEPS = (0, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Steps kept of the first ``FILMS`` rollouts of a world."""
FILMS = 3
FAILURES = 6
"""Rollouts kept around their first lost subject, and as many around their first disobeyed action: the earliest."""
AROUND = 2
"""Steps kept before and after such a failure."""
Reason = Literal["film", "failure"]
_REASONS: tuple[Reason, ...] = ("film", "failure")


@dataclass(frozen=True)
class Shot:
    """One kept frame."""

    rollout: int
    """Index into the R rollouts of the record."""
    step: int
    """0 is the last frame of the context, t the one after t actions: index t - 1 of the record's T steps."""
    frame: Frame
    """(H, W, 3) as generated"""
    truth: Frame | None
    """(H, W, 3) the simulator's, None past the recording"""
    reason: Reason
    """``film``: one of the fixed steps; ``failure``: near a rollout's first lost subject or first disobeyed action."""


@dataclass(frozen=True)
class RolloutRecord:
    """R rollouts of one world over T steps with N subjects: what happened, without the frames."""

    world: WorldSpec
    seeds: Ints
    """(R,) seed label of the held-out episode"""
    rows: Ints
    """(R,) row of that episode which the rollout starts from"""
    action: Ints
    """(R, T, N) index into the world's actions"""
    counted: Bools
    """(R, T, N) whether the step counts for movement accuracy..."""
    obeyed: Bools
    """...and whether the subject did what its action must do"""
    due: Bools
    """(R, T, N) due to be seen"""
    count: Ints
    """(R, T, N) cells that show the subject"""
    cell: Ints
    """(R, T, N, 2) detected x and y, -1 where not seen exactly once"""
    facing: Ints
    """(R, T, N) detected facing, -1 where not seen exactly once or not told by the picture"""
    state: SubjectStates
    """(R, T, N, ...) the model's own states"""
    real: SubjectStates
    """(R, T, N, ...) the simulator's; nobody is alive past the recording"""
    known: Bools
    """(R, T) whether the recording was not over yet"""
    collision: Bools
    """(R, T, N) the action aims at a cell that is solid, or that holds or receives another subject"""
    lost: Bools
    """(R, T) the frame was not finite"""
    in_step: Bools
    """(R, T) no frame so far differed from the simulator's; False past the recording"""
    similarity: Mapping[str, Sums] = field(default_factory=dict)
    """(R, T) PSNR and the like to the simulator's frame by name; NaN where not measured"""
    features: Mapping[str, Floats] = field(default_factory=dict)
    """(R, C, D) of C clips that are ``real`` and ``generated``, for the Frechet distance; NaN past the recording"""
    rewards: Mapping[str, Floats] = field(default_factory=dict)
    """(R, T, N) ``generated``, and ``real`` (NaN past the recording); absent in records of older versions"""
    shots: tuple[Shot, ...] = ()
    """Kept frames, by rollout and step"""

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def horizon(self) -> int:
        """T, the number of steps."""
        return int(self.action.shape[1])

    def take(self, index: Ints) -> RolloutRecord:
        """Return the rollouts of ``index``, in that order."""
        places = {int(old): new for new, old in enumerate(index)}
        shots = tuple(replace(s, rollout=places[s.rollout]) for s in self.shots if s.rollout in places)
        values: dict[str, Any] = {name: getattr(self, name)[index] for name in (*_ARRAYS, *_STATES)}
        for name in _MAPS:
            values[name] = {key: value[index] for key, value in getattr(self, name).items()}
        return RolloutRecord(self.world, **values, shots=_sorted(shots))

    @staticmethod
    def joined(parts: Sequence[RolloutRecord]) -> RolloutRecord:
        """Return the rollouts of all parts of one world, which are equally long, with the shots worth keeping of all.

        Films are kept of the first rollouts, failures where they come first: the same for any split into parts.
        """
        offsets = np.cumsum([0, *map(len, parts)]).tolist()
        shots = [replace(s, rollout=s.rollout + at) for p, at in zip(parts, offsets, strict=False) for s in p.shots]
        values: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in parts]) for name in _ARRAYS}
        for name in _STATES:
            values[name] = _joined_states([getattr(p, name) for p in parts])
        for name in _MAPS:
            every = [getattr(p, name) for p in parts]
            shared = [key for key in every[0] if all(key in one for one in every)]
            values[name] = {key: np.concatenate([one[key] for one in every]) for key in shared}
        whole = RolloutRecord(parts[0].world, **values)
        return replace(whole, shots=worth_keeping(whole, shots))

    def save(self, path: Path) -> None:
        """Write one .npz atomically; raise ``DatasetError`` where the disk refuses."""
        values: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in _ARRAYS}
        for name in _STATES:
            values |= {f"{name}.{part}": value for part, value in vars(getattr(self, name)).items()}
        for name in _MAPS:
            values |= {f"{name}.{key}": value for key, value in getattr(self, name).items()}
        write_arrays(path, {"world": _spec_json(self.world)}, values | _pack_shots(self.shots))

    @staticmethod
    def load(path: Path) -> RolloutRecord:
        """Read what ``save`` wrote; raise ``DatasetError`` where it is missing, damaged or of another version."""
        about, values = read_arrays(path)
        try:
            given: dict[str, Any] = {name: values[name] for name in _ARRAYS}
            given |= {name: SubjectStates(**_under(values, name)) for name in _STATES}
            given |= {name: _under(values, name) for name in _MAPS}
            return RolloutRecord(_spec(about["world"]), **given, shots=_unpack_shots(values))
        except (KeyError, TypeError, IndexError) as error:
            raise damaged(path, error) from error


_STATES = ("state", "real")
_MAPS = ("similarity", "features", "rewards")
_ARRAYS = (
    *("seeds", "rows", "action", "counted", "obeyed", "due", "count", "cell", "facing"),
    *("known", "collision", "lost", "in_step"),
)


@dataclass(frozen=True)
class StepRecord:
    """What single steps from real contexts gave in the E held-out episodes of one world, and what holds of them all."""

    world: WorldSpec
    seeds: Ints
    """(E,) seed labels"""
    ratios: Mapping[str, Ratio]
    """By metric, with sums per episode (E,)"""
    notes: tuple[str, ...] = ()
    """What to bear in mind when reading the metrics of this world"""
    rankings: Mapping[str, AveragePrecision] = field(default_factory=dict)
    """By metric, of cases in the E episodes; none in records of older versions"""

    def take(self, index: Ints) -> StepRecord:
        """Return the episodes of ``index``, in that order."""
        ratios = {name: ratio.take(index) for name, ratio in self.ratios.items()}
        rankings = {name: ranking.take(index) for name, ranking in self.rankings.items()}
        return replace(self, seeds=self.seeds[index], ratios=ratios, rankings=rankings)

    def save(self, path: Path) -> None:
        """Write one .npz atomically; raise ``DatasetError`` where the disk refuses."""
        about = {"world": _spec_json(self.world), "notes": list(self.notes), "ratios": list(self.ratios)}
        about["rankings"] = list(self.rankings)
        values: dict[str, NDArray[Any]] = {}
        for k, ratio in enumerate(self.ratios.values()):
            values[f"ratio.{k}"] = np.stack([ratio.right, ratio.total])
        for k, ranking in enumerate(self.rankings.values()):
            values |= {f"ranking{k}.{name}": getattr(ranking, name) for name in _RANKED}
        write_arrays(path, about, {"seeds": self.seeds, **values})

    @staticmethod
    def load(path: Path) -> StepRecord:
        """Read what ``save`` wrote; raise ``DatasetError`` where it is missing, damaged or of another version."""
        about, values = read_arrays(path)
        try:
            ratios = {name: Ratio(*values[f"ratio.{k}"]) for k, name in enumerate(about["ratios"])}
            size, ranked = len(values["seeds"]), about.get("rankings", [])
            rankings = {name: _ranking(_under(values, f"ranking{k}"), size) for k, name in enumerate(ranked)}
            return StepRecord(_spec(about["world"]), values["seeds"], ratios, tuple(about["notes"]), rankings)
        except (KeyError, TypeError, IndexError) as error:
            raise damaged(path, error) from error


_RANKED = ("odds", "hit", "rollout", "weight")


def _ranking(values: Mapping[str, NDArray[Any]], size: int) -> AveragePrecision:
    odds, hit, rollout, weight = (values[name] for name in _RANKED)
    return AveragePrecision(odds, hit, rollout, weight, size)


def first_failures(record: RolloutRecord) -> set[tuple[int, int]]:
    """Return (rollout, step) of the earliest first lost subjects and of the earliest first disobeyed actions.

    Steps count from 1, as in a ``Shot``; ``FAILURES`` of each kind, ties to the rollout that comes first.
    """
    out: set[tuple[int, int]] = set()
    lost: Bools = record.due & (record.count == 0)
    for bad in (lost, record.counted & ~record.obeyed):
        steps: Bools = np.asarray(bad.any(-1))
        rollouts = np.flatnonzero(steps.any(1))
        first = steps[rollouts].argmax(1) + 1
        chosen = np.argsort(first, kind="stable")[:FAILURES]
        out |= set(zip(rollouts[chosen].tolist(), first[chosen].tolist(), strict=True))
    return out


def worth_keeping(record: RolloutRecord, shots: Iterable[Shot]) -> tuple[Shot, ...]:
    """Return those of ``shots`` that belong to the films or to the earliest failures of ``record``, in order."""
    near = {(r, t + k) for r, t in first_failures(record) for k in range(-AROUND, AROUND + 1)}
    kept = (s for s in shots if (s.rollout < FILMS if s.reason == "film" else (s.rollout, s.step) in near))
    return _sorted(kept)


def _sorted(shots: Iterable[Shot]) -> tuple[Shot, ...]:
    return tuple(sorted(shots, key=lambda s: (s.rollout, s.step, s.reason)))


def _joined_states(parts: Sequence[SubjectStates]) -> SubjectStates:
    return SubjectStates(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(SubjectStates)))


def _spec_json(spec: WorldSpec) -> dict[str, Any]:
    return {"name": spec.name, "subjects": spec.subjects, "grid": list(spec.grid), "actions": list(spec.actions)}


def _spec(values: Mapping[str, Any]) -> WorldSpec:
    return WorldSpec(values["name"], values["subjects"], tuple(values["grid"]), tuple(values["actions"]))


def _under(values: Mapping[str, NDArray[Any]], name: str) -> dict[str, NDArray[Any]]:
    """Return the arrays called ``name.something``, by that something."""
    return {key.split(".", 1)[1]: value for key, value in values.items() if key.startswith(f"{name}.")}


def _pack_shots(shots: Sequence[Shot]) -> dict[str, NDArray[Any]]:
    if not shots:
        return {}
    none = np.zeros_like(shots[0].frame)
    return {
        "shots.place": np.array([(s.rollout, s.step, _REASONS.index(s.reason)) for s in shots], np.int64),
        "shots.frame": np.stack([s.frame for s in shots]),
        "shots.truth": np.stack([none if s.truth is None else s.truth for s in shots]),
        "shots.known": np.array([s.truth is not None for s in shots]),
    }


def _unpack_shots(values: Mapping[str, NDArray[Any]]) -> tuple[Shot, ...]:
    if "shots.place" not in values:
        return ()
    pictures = zip(values["shots.frame"], values["shots.truth"], values["shots.known"], strict=True)
    return tuple(
        Shot(int(rollout), int(step), frame, truth if known else None, _REASONS[reason])
        for (rollout, step, reason), (frame, truth, known) in zip(values["shots.place"], pictures, strict=True)
    )
