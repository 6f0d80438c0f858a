"""The metrics of a step, from arrays alone: what was detected, what the simulator did, what each action must do.

Shapes: B frames or rollouts, N subjects, h x w cells. Every function returns booleans or counts per rollout, so that
shares and their intervals are made in one place (``bootstrap``). A subject counts as *due* at a step where it is alive:
by the simulator in one-step metrics, by the model's own states in a rollout of a world where subjects can be removed,
and always where they never are (``mortal`` labels).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actionparty.evaluation.detector import REJECT, Detections, Detector, Reading
from actionparty.evaluation.moves import SOLID, UNKNOWN, at_cells, intended, obeyed
from actionparty.evaluation.tiles import Cells, TileTable, distinct, rms, same
from actionparty.types import FACING_STEPS, Bools, Floats, Ints, SubjectStates
from actionparty.vocabulary import MOVES

_REACH, _SPREAD, _AMBIENT = 4, 1, 0.2


def safe_states(states: SubjectStates) -> SubjectStates:
    """Return states whose positions are all finite: a subject at NaN is put at (-1, -1), where nothing is right."""
    finite = np.isfinite(states.position).all(-1, keepdims=True)
    return SubjectStates(np.where(finite, states.position, -1).astype(np.float32), states.facing, states.alive)


def states_right(predicted: SubjectStates, real: SubjectStates) -> Bools:
    """Return (..., N) whether cell, facing and aliveness are the simulator's."""
    predicted = safe_states(predicted)
    placed = (predicted.cells == real.cells).all(-1) & (predicted.facing == real.facing)
    return np.asarray(placed & (predicted.alive == real.alive))


def moving(before: SubjectStates, after: SubjectStates) -> Bools:
    """Return (..., N) which living subjects changed cell or facing in the simulator."""
    changed = (before.cells != after.cells).any(-1) | (before.facing != after.facing)
    return np.asarray(changed & before.alive & after.alive)


def cells_right(vocabulary: TileTable, generated: Cells, real: Cells) -> Bools:
    """Return (...) whether each generated cell (..., 192) shows the real one's tile.

    It does where it is equal, or where no known tile is nearer than the real one and that is within ``REJECT``.
    """
    flat, truth = generated.reshape(-1, generated.shape[-1]), real.reshape(-1, real.shape[-1])
    right = same(flat, truth)
    close = np.flatnonzero(~right)
    distance = rms(flat[close], truth[close])
    close, distance = close[distance <= REJECT], distance[distance <= REJECT]
    if len(close):
        fresh, inverse = distinct(flat[close])
        right[close] = distance <= vocabulary.nearest(fresh)[1][inverse] + 0.25 if len(vocabulary) else True
    return right.reshape(generated.shape[:-1])


def effect_actions(actions: tuple[str, ...]) -> Bools:
    """Return (A,) which of a world's actions act on something (zap, clean, interact...) rather than move."""
    return np.array([name not in MOVES for name in actions], bool)


def subject_cells(states: SubjectStates, grid: tuple[int, int]) -> Bools:
    """Return (B, h, w) the cells that hold a living subject."""
    h, w = grid
    out = np.zeros((len(states.alive), h, w), bool)
    row, subject = np.nonzero(states.alive)
    x, y = np.clip(states.cells[row, subject], 0, (w - 1, h - 1)).T
    out[row, y, x] = True
    return out


def effect_cells(
    changed: Bools, before: SubjectStates, after: SubjectStates, acting: Bools, change_rate: Floats
) -> Bools:
    """Return (B, h, w) the changed cells that are put down to an interact-type action.

    Those are outside every subject's own cell before and after, at most 4 cells ahead of a living subject that is
    ``acting`` (B, N) and at most 1 aside, and not restless by themselves: ``change_rate`` (B, h, w), the share of the
    recorded steps at which a cell changes, is at most 0.2 (moving water changes without anybody's doing).
    """
    grid = changed.shape[1], changed.shape[2]
    own = subject_cells(before, grid) | subject_cells(after, grid)
    place = np.stack(np.meshgrid(np.arange(grid[1]), np.arange(grid[0])), -1)
    offset = place[None, None] - before.cells[:, :, None, None]
    ahead_of = FACING_STEPS[before.facing % 4][:, :, None, None]
    aside_of = FACING_STEPS[(before.facing + 1) % 4][:, :, None, None]
    ahead, aside = (offset * ahead_of).sum(-1), np.abs((offset * aside_of).sum(-1))
    reached = (ahead >= 0) & (ahead <= _REACH) & (aside <= _SPREAD) & (acting & before.alive)[:, :, None, None]
    return np.asarray(changed & ~own & reached.any(1) & (change_rate <= _AMBIENT))


@dataclass(frozen=True)
class Glimpse:
    """What a frame of a batch of rollouts shows, as far as judging the next one needs it."""

    seen: Detections
    owners: Ints
    """(B, h, w) subject in each cell, -1 for none"""
    cells: Cells
    """(B, h * w, 192)"""
    due: Bools
    """(B, N) due to be seen"""
    states: SubjectStates
    """(B, N, ...) where the subjects are believed to be"""

    @property
    def place(self) -> tuple[Ints, Ints]:
        """Cell (B, N, 2) and facing (B, N) of each subject: as seen, else as believed."""
        cell = np.where((self.seen.count == 1)[..., None], self.seen.cell, self.states.cells)
        return cell, np.where(self.seen.facing >= 0, self.seen.facing, self.states.facing)


def glimpse(reading: Reading, owners: Ints, cells: Cells, due: Bools, lost: Bools, states: SubjectStates) -> Glimpse:
    """Collect what a frame shows; rows that are ``lost`` (B,), because they were not finite, show nobody."""
    owners = np.where(lost[:, None, None], -1, owners)
    return Glimpse(reading.detect(owners, due.shape[1]), owners, cells, due, states)


def target_passable(detector: Detector, before: Glimpse, target: Ints) -> Ints:
    """Return (B, N) whether each ``target`` cell (B, N, 2) can be entered, by the tile shown there before."""
    b, h, w = before.owners.shape
    index = at_cells(np.arange(b * h * w).reshape(b, h, w), target, -1)
    cells = before.cells.reshape(b * h * w, -1)[np.maximum(index, 0)]
    tile, distance = detector.vocabulary.nearest(cells.reshape(-1, cells.shape[-1]))
    passable = detector.labels.passable()[np.maximum(tile, 0)] if len(detector.vocabulary) else np.zeros_like(tile)
    known = np.where((tile >= 0) & (distance <= REJECT), passable, UNKNOWN).reshape(index.shape)
    return np.where(index < 0, SOLID, known)


@dataclass(frozen=True)
class Verdict:
    """What became of the action of each subject in one step, (B, N) each."""

    obeyed: Bools
    counted: Bools
    collision: Bools
    """A step action whose target is solid, or holds or receives another subject"""


def actions_obeyed(
    detector: Detector, before: Glimpse, after: Glimpse, moves: Ints, truth: tuple[SubjectStates, SubjectStates] | None
) -> Verdict:
    """Judge whether each subject did what its action must do, and whether that counts at all.

    Counted are subjects due in both frames; one not detected exactly once in both is wrong. The detected change must be
    the one the action aims at, or none where a wall, the border or another subject is (or comes) in the way; or, where
    the subject stands exactly where the simulator's stood (``truth``, before and after), the simulator's own change:
    games also freeze, push and carry their subjects.
    """
    counted = before.due & after.due
    single = (before.seen.count == 1) & (after.seen.count == 1) & (before.seen.facing >= 0)
    was, now = before.place, (after.seen.cell, after.seen.facing)
    target, _ = intended(*was, moves)
    me = np.arange(moves.shape[1])
    rivals = [at_cells(g.owners, target, -1) for g in (before, after)]
    contested = np.logical_or(*((r >= 0) & (r != me) for r in rivals))
    passable = target_passable(detector, before, target)
    right = obeyed(was, now, moves, passable, contested)
    if truth is not None:
        right |= before.seen.matches(truth[0]) & after.seen.matches(truth[1]) & truth[0].alive & truth[1].alive
    collision = moves[..., :2].any(-1) & ((passable == SOLID) | contested)
    return Verdict(np.asarray(right & single & counted), counted, np.asarray(collision))


def told_rewards(rewards: Floats, lost: Bools) -> Floats:
    """Return rewards (..., N), none where a frame (...) is ``lost`` or what was told is no finite number."""
    return np.where(np.isfinite(rewards) & ~lost[..., None], rewards, np.float32(0))


def finite_frames(frames: NDArray[np.generic]) -> tuple[NDArray[np.uint8], Bools]:
    """Return frames (B, H, W, 3) as uint8 and which of them (B,) are lost for not being finite; those turn black."""
    if frames.dtype == np.uint8:
        return frames.astype(np.uint8, copy=False), np.zeros(len(frames), bool)
    lost = ~np.isfinite(frames).reshape(len(frames), -1).all(1)
    clean = np.where(lost[:, None, None, None], 0, frames)
    return np.clip(np.rint(clean), 0, 255).astype(np.uint8), np.asarray(lost)
