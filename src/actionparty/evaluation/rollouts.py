"""Score long rollouts of a generated world, step by step; one frame per rollout is held at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from actionparty.evaluation.bootstrap import Ratio
from actionparty.evaluation.detector import Detector, FrameReader
from actionparty.evaluation.metrics import (
    Glimpse,
    actions_obeyed,
    cells_right,
    finite_frames,
    glimpse,
    safe_states,
)
from actionparty.evaluation.moves import move_table
from actionparty.evaluation.similarity import psnr, ssim
from actionparty.evaluation.tiles import to_cells
from actionparty.types import Bools, Episode, Floats, Ints, Scene, SubjectStates

SP_STEPS = (10, 50, 100, 500, 1000)
"""Steps at which subject preservation is given..."""
SP_WINDOW = 10
"""...each as the mean of this many steps, the given one last."""


class RolloutStep(Protocol):
    """What a batch of B rollouts answers to one step."""

    @property
    def frames(self) -> NDArray[Any]:
        """(B, H, W, 3) uint8; or floats of 0 to 255, of which those that are not finite count as lost"""

    @property
    def states(self) -> SubjectStates:
        """(B, N, ...)"""

    @property
    def rewards(self) -> Floats:
        """(B, N)"""

    @property
    def ended(self) -> Bools:
        """(B,)"""


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


@dataclass
class Curves:
    """Sums per step and rollout, (T, R), of what was right and what was counted, by metric."""

    right: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)
    total: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)

    def add(self, name: str, right: NDArray[np.generic], total: NDArray[np.generic]) -> None:
        """Append a step: ``right`` and ``total`` (R,) or (R, N), which are summed over subjects."""
        for sums, values in ((self.right, right), (self.total, total)):
            sums.setdefault(name, []).append(np.asarray(values, np.float64).reshape(len(values), -1).sum(1))

    def ratio(self, name: str, start: int = 0, stop: int | None = None) -> Ratio:
        """Return the share over steps ``start`` to ``stop``, with sums per rollout."""
        right, total = (np.stack(sums[name][start:stop]).sum(0) for sums in (self.right, self.total))
        return Ratio(right, total)

    def curve(self, name: str) -> NDArray[np.float64]:
        """Return (T,) the share at each step over all rollouts, NaN where nothing was counted."""
        right, total = (np.stack(sums[name]).sum(1) for sums in (self.right, self.total))
        return np.asarray(np.divide(right, total, out=np.full(len(right), np.nan), where=total > 0))

    @staticmethod
    def joined(parts: Sequence[Curves]) -> Curves:
        """Return the curves of the rollouts of all parts (equally long) side by side."""
        out = Curves()
        for name in parts[0].right:
            out.right[name] = [np.concatenate(step) for step in zip(*(p.right[name] for p in parts), strict=True)]
            out.total[name] = [np.concatenate(step) for step in zip(*(p.total[name] for p in parts), strict=True)]
        return out


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


def score_rollouts(
    world: BatchRollout,
    episodes: Sequence[Episode],
    starts: Sequence[Start],
    detector: Detector,
    plan: RolloutPlan,
    tick: Callable[[int], None],
) -> Curves:
    """Roll out from every start together and return what was right and counted at each step, by metric.

    ``tick`` is told the number of frames done. Metrics against the simulator end where the recording does.
    """
    recorded = [episodes[s.episode] for s in starts]
    moves = move_table(recorded[0].world.actions)
    wearers = np.stack([detector.labels.wearers(e) for e in recorded])
    scenes = [e.scene(s.row, plan.context, plan.memory) for e, s in zip(recorded, starts, strict=True)]
    world.reset(scenes, [plan.noise_seed(s) for s in starts])
    reader = FrameReader(detector)
    first = reader.read(np.stack([scene.frames[-1] for scene in scenes]))
    real = SubjectStates.stack([scene.states[-1] for scene in scenes])
    due = real.alive if detector.labels.mortal else np.ones_like(real.alive)
    before = glimpse(
        first, first.owners(wearers, detector.labels, real), reader.cells, due, np.zeros(len(starts), bool)
    )
    curves = Curves()
    in_step = np.ones(len(starts), bool)
    for step in range(1, plan.horizon + 1):
        rows = [row_of(e, s, step) for e, s in zip(recorded, starts, strict=True)]
        actions = np.stack([e.actions[r] for e, r in zip(recorded, rows, strict=True)])
        answer = world.step(actions)
        frames, lost = finite_frames(answer.frames)
        reading = reader.read(frames)
        states = safe_states(answer.states)
        due = states.alive if detector.labels.mortal else np.ones_like(states.alive)
        after = glimpse(reading, reading.owners(wearers, detector.labels, states), reader.cells, due, lost)
        known = np.array([s.row + step < len(e) for e, s in zip(recorded, starts, strict=True)])
        now = SubjectStates.stack([e.states[r] for e, r in zip(recorded, rows, strict=True)])
        _score_subjects(curves, detector, (before, after), moves[actions], (_only(real, known), _only(now, known)))
        curves.add("nan_frames", lost, np.ones(len(lost)))
        curves.add("alive", states.alive, np.ones_like(states.alive))
        curves.add("alive_real", now.alive & known[:, None], np.repeat(known[:, None], now.alive.shape[1], 1))
        curves.add("state", _at_place(states, now) & known[:, None], now.alive & known[:, None])
        if plan.deterministic or step % plan.similarity_every == 0:
            truth = np.stack([e.frames(r, r + 1)[0] for e, r in zip(recorded, rows, strict=True)])
            in_step &= cells_right(detector.vocabulary, after.cells, to_cells(truth)).all(1) | ~known
            if step % plan.similarity_every == 0:
                curves.add("psnr", np.where(known, psnr(frames, truth), 0), known)
                curves.add("ssim", np.where(known, ssim(frames, truth), 0), known)
        curves.add("in_step", in_step & known, known)
        before, real = after, now
        tick(len(starts))
    return curves


def _only(states: SubjectStates, known: Bools) -> SubjectStates:
    """Return states in which nobody is alive in rollouts (B,) whose recording is over: they can't be compared to."""
    return SubjectStates(states.position, states.facing, states.alive & known[:, None])


def _at_place(predicted: SubjectStates, real: SubjectStates) -> Bools:
    placed = (predicted.cells == real.cells).all(-1) & (predicted.facing == real.facing)
    return np.asarray(placed & predicted.alive & real.alive)


def _score_subjects(
    curves: Curves,
    detector: Detector,
    pair: tuple[Glimpse, Glimpse],
    moves: Ints,
    truth: tuple[SubjectStates, SubjectStates],
) -> None:
    count, due = pair[1].seen.count, pair[1].alive
    curves.add("sp", (count == 1) & due, due)
    curves.add("dr", (count >= 1) & due, due)
    curves.add("duplicates", (count > 1) & due, due)
    right, counted = actions_obeyed(detector, *pair, moves, truth)
    curves.add("ma", right, counted)


def sync_horizon(curves: Curves) -> NDArray[np.float64]:
    """Return (R,) the number of steps before the first frame that differs from the simulator's."""
    return np.asarray(np.stack(curves.right["in_step"]).sum(0))


def sp_ratios(curves: Curves) -> dict[int, Ratio]:
    """Return subject preservation at each of ``SP_STEPS`` that was reached."""
    reached = [t for t in SP_STEPS if t <= len(curves.right["sp"])]
    return {t: curves.ratio("sp", t - SP_WINDOW, t) for t in reached}
