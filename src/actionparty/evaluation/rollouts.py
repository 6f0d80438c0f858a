"""Run long rollouts of a generated world beside its recordings, and record what happened.

One frame per rollout is held at a time. What it means is said elsewhere (``summary``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from actionparty.evaluation.detector import Detector, FrameReader
from actionparty.evaluation.metrics import Glimpse, actions_obeyed, cells_right, finite_frames, glimpse, safe_states
from actionparty.evaluation.moves import move_table
from actionparty.evaluation.perceptual import CLIP
from actionparty.evaluation.records import RolloutRecord, Shot
from actionparty.evaluation.shots import ShotKeeper
from actionparty.evaluation.similarity import psnr, ssim
from actionparty.evaluation.tiles import Cells, to_cells
from actionparty.types import Bools, Episode, Floats, Frame, Ints, Scene, SubjectStates, WorldSpec

Frames = NDArray[np.uint8]
"""(B, H, W, 3)"""


class RolloutStep(Protocol):
    """What a batch of B rollouts answers to one step.

    Where it also has ``finite`` (B,), frames it says False of are lost (``pictures``); where it has ``reward_odds``
    (B, N), the probability that a reward is not zero, average precision can be taken.
    """

    @property
    def frames(self) -> NDArray[Any]:
        """(B, H, W, 3) uint8; or floats of 0 to 255, of which those that are not finite count as lost"""

    @property
    def states(self) -> SubjectStates:
        """(B, N, ...)"""

    @property
    def rewards(self) -> Floats:
        """(B, N) received on arrival"""

    @property
    def ended(self) -> Bools:
        """(B,) whether the episode is over"""


def pictures(answer: RolloutStep) -> tuple[Frames, Bools]:
    """Return the frames of a step and which of them (B,) are lost: not finite, or not ``finite`` by what it says.

    A rollout that feeds uint8 frames back has nothing but ``finite`` to tell that its network answered NaN.
    """
    frames, lost = finite_frames(answer.frames)
    return frames, lost | ~np.asarray(getattr(answer, "finite", np.ones(len(frames))), bool)


class BatchRollout(Protocol):
    """B rollouts of one generated world, stepped together."""

    def reset(self, scenes: Sequence[Scene], seeds: Sequence[int]) -> None:
        """Start one rollout per scene, all of one world."""

    def step(self, actions: Ints) -> RolloutStep:
        """Advance all by one step with ``actions`` (B, N)."""


@dataclass(frozen=True)
class Start:
    """Row ``row`` of the held-out episode number ``episode``: where a rollout or a one-step prediction starts."""

    episode: int
    row: int
    weight: float = 1.0
    """For how many steps of the recording a one-step prediction stands where rewards are scored (``rewarded``)"""


@dataclass(frozen=True)
class RolloutPlan:
    """How the rollouts of a world are run: ``horizon`` steps from ``context`` frames and ``memory`` rows of states."""

    horizon: int
    context: int
    memory: int
    seed: int
    similarity_every: int = 10
    """PSNR and SSIM are taken at every so many steps."""
    deterministic: bool = False
    """Whether the world has no chance events, so that staying in step with the simulator can be asked for."""

    def noise_seed(self, start: Start) -> int:
        """Return the seed of whatever is generated from ``start``: the same alone and in any batch."""
        return self.seed + 1_000_003 * start.episode + start.row


def row_of(episode: Episode, start: Start, step: int) -> int:
    """Return the row whose action is taken at ``step`` (from 1); past the recording, its actions come round again."""
    return 1 + (start.row + step - 1) % (len(episode) - 1)


@dataclass(frozen=True)
class Perceptual:
    """What judges generated frames beside the simulator's with networks of the user's; each may be missing."""

    lpips: Callable[[Frames, Frames], NDArray[np.float64]] | None = None
    """Distance (B,) of pictures (B, H, W, 3)"""
    fvd: Callable[[Frames], Floats] | None = None
    """Features (B, D) of clips (B, CLIP, H, W, 3)"""


def score_rollouts(
    world: BatchRollout,
    episodes: Sequence[Episode],
    starts: Sequence[Start],
    detector: Detector,
    plan: RolloutPlan,
    tick: Callable[[int], None],
    *,
    first: int = 0,
    perceptual: Perceptual | None = None,
) -> RolloutRecord:
    """Roll out from every start together and return what happened.

    ``tick`` is told the number of frames done; ``first`` is how many rollouts of this world came before. What needs
    the simulator ends where the recording does.
    """
    run = _Run(episodes, starts, detector, plan)
    scenes = [e.scene(s.row, plan.context, plan.memory) for e, s in zip(run.recorded, starts, strict=True)]
    world.reset(scenes, [plan.noise_seed(s) for s in starts])
    frames = np.stack([scene.frames[-1] for scene in scenes])
    real = SubjectStates.stack([scene.states[-1] for scene in scenes])
    before = run.look(frames, real, np.zeros(len(starts), bool))
    shots, likeness = ShotKeeper(first, run.true_frame), _Likeness(plan, detector, perceptual)
    shots.see(0, frames)
    track = _Track()
    for step in range(1, plan.horizon + 1):
        actions = run.actions(step)
        answer = world.step(actions)
        frames, lost = pictures(answer)
        after = run.look(frames, safe_states(answer.states), lost)
        known, now = run.known(step), run.real(step)
        verdict = actions_obeyed(detector, before, after, run.moves[actions], (_only(real, known), _only(now, known)))
        seen = {"count": after.seen.count, "cell": after.seen.cell, "facing": after.seen.facing}
        track.add(action=actions, due=after.due, known=known, lost=lost, **seen, **vars(verdict))
        track.add_states(state=after.states, real=_only(now, known))
        track.add_rewards(
            generated=answer.rewards, real=np.where(known[:, None], run.rewards(step), np.float32(np.nan))
        )
        track.add(in_step=likeness.see(step, frames, after.cells, run.true_frames, known))
        gone = after.due & (after.seen.count == 0)
        shots.see(step, frames, lost=_any(gone), disobeyed=_any(verdict.counted & ~verdict.obeyed))
        before, real = after, now
        tick(len(starts))
    seeds, rows = np.array([e.seed for e in run.recorded]), np.array([s.row for s in starts])
    return track.record(run.recorded[0].world, seeds, rows, likeness, shots.shots)


def _any(subjects: Bools) -> Bools:
    """(B, N) -> (B,)"""
    return np.asarray(subjects.any(1))


class _Run:
    """The recordings beside a batch of rollouts, and how its frames are read."""

    def __init__(
        self, episodes: Sequence[Episode], starts: Sequence[Start], detector: Detector, plan: RolloutPlan
    ) -> None:
        self.recorded = [episodes[s.episode] for s in starts]
        self.moves = move_table(self.recorded[0].world.actions)
        self._starts = starts
        self._labels = detector.labels
        self._wearers = np.stack([detector.labels.wearers(e) for e in self.recorded])
        self._reader = FrameReader(detector)

    def look(self, frames: Frames, states: SubjectStates, lost: Bools) -> Glimpse:
        """Read frames (B, H, W, 3) in which the subjects are believed to be as ``states`` say."""
        reading = self._reader.read(frames)
        due = states.alive if self._labels.mortal else np.ones_like(states.alive)
        owners = reading.owners(self._wearers, self._labels, states)
        return glimpse(reading, owners, self._reader.cells, due, lost, states)

    def _rows(self, step: int) -> list[tuple[Episode, int]]:
        return [(e, row_of(e, s, step)) for e, s in zip(self.recorded, self._starts, strict=True)]

    def actions(self, step: int) -> Ints:
        return np.stack([e.actions[r] for e, r in self._rows(step)])

    def rewards(self, step: int) -> Floats:
        return np.stack([e.rewards[r] for e, r in self._rows(step)])

    def real(self, step: int) -> SubjectStates:
        return SubjectStates.stack([e.states[r] for e, r in self._rows(step)])

    def known(self, step: int) -> Bools:
        return np.array([s.row + step < len(e) for e, s in zip(self.recorded, self._starts, strict=True)])

    def true_frames(self, step: int) -> Frames:
        return np.stack([e.frames(r, r + 1)[0] for e, r in self._rows(step)])

    def true_frame(self, rollout: int, step: int) -> Frame | None:
        episode, row = self.recorded[rollout], self._starts[rollout].row + step
        return episode.frames(row, row + 1)[0] if row < len(episode) else None


def _only(states: SubjectStates, known: Bools) -> SubjectStates:
    """Return states in which nobody is alive in rollouts (B,) whose recording is over: they can't be compared to."""
    return SubjectStates(states.position, states.facing, states.alive & known[:, None])


class _Likeness:
    """Compares the frames of a batch with the simulator's: cell by cell, by PSNR and SSIM, and by what users bring."""

    def __init__(self, plan: RolloutPlan, detector: Detector, perceptual: Perceptual | None) -> None:
        self._plan, self._vocabulary = plan, detector.vocabulary
        self._judge = perceptual or Perceptual()
        self._in_step: Bools | None = None
        self._clip: list[tuple[Frames, Frames]] = []
        self.similarity: dict[str, list[NDArray[np.float64]]] = {}
        self.features: dict[str, list[Floats]] = {}

    def see(self, step: int, frames: Frames, cells: Cells, true_frames: Callable[[int], Frames], known: Bools) -> Bools:
        """Compare the frames of ``step``; return (B,) where none differed so far."""
        if self._in_step is None:
            self._in_step = np.ones(len(frames), bool)
        measured = step % self._plan.similarity_every == 0
        truth = true_frames(step) if measured or self._plan.deterministic or self._judge.fvd else frames
        if measured or self._plan.deterministic:
            self._in_step &= cells_right(self._vocabulary, cells, to_cells(truth)).all(1) | ~known
        measures = {"psnr": psnr, "ssim": ssim, **({"lpips": self._judge.lpips} if self._judge.lpips else {})}
        for name, measure in measures.items():
            value = np.where(known, measure(frames, truth), np.nan) if measured else np.full(len(frames), np.nan)
            self.similarity.setdefault(name, []).append(value)
        if self._judge.fvd:
            self._see_clip(self._judge.fvd, (frames, truth), known)
        return np.asarray(self._in_step & known)

    def _see_clip(self, features: Callable[[Frames], Floats], pair: tuple[Frames, Frames], known: Bools) -> None:
        self._clip.append(pair)
        if len(self._clip) == CLIP:
            for k, name in enumerate(("generated", "real")):
                found = features(np.stack([both[k] for both in self._clip], 1))
                self.features.setdefault(name, []).append(np.where(known[:, None], found, np.float32(np.nan)))
            self._clip = []


class _Track:
    """Collects a record step by step."""

    def __init__(self) -> None:
        self._steps: dict[str, list[NDArray[Any]]] = {}
        self._states: dict[str, list[SubjectStates]] = {}
        self._rewards: dict[str, list[Floats]] = {}

    def add(self, **values: NDArray[Any]) -> None:
        for name, value in values.items():
            self._steps.setdefault(name, []).append(value)

    def add_states(self, **states: SubjectStates) -> None:
        for name, value in states.items():
            self._states.setdefault(name, []).append(value)

    def add_rewards(self, **rewards: Floats) -> None:
        for name, value in rewards.items():
            self._rewards.setdefault(name, []).append(value)

    def record(
        self, world: WorldSpec, seeds: Ints, rows: Ints, likeness: _Likeness, shots: tuple[Shot, ...]
    ) -> RolloutRecord:
        """Return everything with rollouts first and steps second."""
        values: dict[str, Any] = {name: np.stack(steps, 1) for name, steps in self._steps.items()}
        for name, states in self._states.items():
            parts = (np.stack([getattr(s, part.name) for s in states], 1) for part in fields(SubjectStates))
            values[name] = SubjectStates(*parts)
        maps: dict[str, Mapping[str, Sequence[NDArray[Any]]]] = {
            "similarity": likeness.similarity,
            "features": likeness.features,
            "rewards": self._rewards,
        }
        for name, columns in maps.items():
            values[name] = {key: np.stack(steps, 1) for key, steps in columns.items()}
        return RolloutRecord(world, seeds, rows, **values, shots=shots)
