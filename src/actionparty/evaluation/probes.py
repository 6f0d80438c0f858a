"""Does an action reach its own subject, and no other? Predictions from one context with one thing changed.

*Isolation*: the same context and noise, one subject's action replaced by another. Every other subject farther than 3
cells (in x or in y) must be predicted in exactly the same state.

*Swap*: the actions of two subjects are exchanged. Only cases whose right answer is certain count: in the simulator both
subjects carried out their recorded actions (each moved or turned as its action aims, so neither was frozen or blocked);
the two actions differ; and what each must do under its new action is certain: it turns, or it steps into a cell
whose tile is known to be open and that no other living subject touches. A case is right when *both* end exactly there.
The two outcomes of a subject always differ, so a model that ignores actions, or gives them to the wrong subject,
scores zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from actionparty.evaluation.metrics import safe_states
from actionparty.evaluation.moves import inside, intended
from actionparty.types import Bools, Ints, SubjectStates

FAR = 3
"""Cells beyond which an action must not be felt."""


@dataclass(frozen=True)
class Change:
    """Changed actions (B, N), the subjects they concern (B, 2; equal when one), and where there is a case (B,)."""

    actions: Ints
    who: Ints
    valid: Bools


def change_one(actions: Ints, alive: Bools, choices: int, rng: np.random.Generator) -> Change:
    """Replace the action of one living subject per context by another of the world's ``choices`` actions."""
    b, n = actions.shape
    who = np.where(alive, rng.random((b, n)), -1).argmax(1)
    rows = np.arange(b)
    changed = actions.copy()
    if choices > 1:
        changed[rows, who] = (actions[rows, who] + rng.integers(1, choices, b)) % choices
    return Change(changed, np.stack([who, who], 1), np.asarray(alive.any(1) & (choices > 1)))


def isolated(
    change: Change, context: SubjectStates, base: SubjectStates, other: SubjectStates, finite: Bools | None = None
) -> tuple[Bools, Bools]:
    """Return (B, N) which far subjects are predicted alike in ``base`` and ``other``, and which subjects count.

    Nobody is alike whose position is not finite in either, nor where ``finite`` (B,) says that an answer was not.
    """
    place = context.cells[np.arange(len(change.who)), change.who[:, 0]]
    far = np.abs(context.cells - place[:, None]).max(-1) > FAR
    counted = far & context.alive & change.valid[:, None]
    whole = np.isfinite(base.position).all(-1) & np.isfinite(other.position).all(-1) & _column(finite)
    base, other = safe_states(base), safe_states(other)
    alike = (base.cells == other.cells).all(-1) & (base.facing == other.facing) & (base.alive == other.alive)
    return np.asarray(alike & whole & counted), counted


def _column(finite: Bools | None) -> Bools:
    """Return (B, 1), or (1, 1) where nothing is said."""
    return np.ones((1, 1), bool) if finite is None else finite[:, None]


def certain_outcomes(states: SubjectStates, moves: Ints, open_cells: Bools) -> Bools:
    """Return (B, N, A) whether each row of the move table (A, 3), taken by each subject, must come out as it aims.

    ``open_cells`` (B, h, w) are the cells whose tile is known to be enterable.
    """
    b, n = states.alive.shape
    h, w = open_cells.shape[1:]
    cells = np.repeat(states.cells[:, :, None], len(moves), 2)
    target, _ = intended(cells, np.repeat(states.facing[:, :, None], len(moves), 2), moves[None, None])
    x, y = np.clip(target[..., 0], 0, w - 1), np.clip(target[..., 1], 0, h - 1)
    free = open_cells[np.arange(b)[:, None, None], y, x] & inside(target, (h, w))
    near = np.abs(target[:, :, :, None] - states.cells[:, None, None]).sum(-1) <= 1
    near &= states.alive[:, None, None] & ~np.eye(n, dtype=bool)[None, :, None]
    steps, turns = moves[:, :2].any(-1), moves[:, 2] != 0
    certain = np.where(steps, free & ~near.any(-1), turns)
    return np.asarray(certain & states.alive[..., None])


def swap_pairs(
    before: SubjectStates, after: SubjectStates, actions: Ints, moves: Ints, open_cells: Bools, rng: np.random.Generator
) -> Change:
    """Exchange the actions of one pair of subjects per context, chosen among those whose answer is certain."""
    n = actions.shape[1]
    mine = moves[actions]
    target, facing = intended(before.cells, before.facing, mine)
    done = (after.cells == target).all(-1) & (after.facing == facing) & before.alive & after.alive & mine.any(-1)
    certain = certain_outcomes(before, moves, open_cells)
    swapped = np.take_along_axis(certain, np.repeat(actions[:, None], n, 1), 2)
    differ = (mine[:, :, None] != mine[:, None]).any(-1)
    pairs = differ & (done[:, :, None] & done[:, None]) & swapped & swapped.transpose(0, 2, 1)
    pairs &= ~_same_target(before, mine)
    chosen = np.where(np.triu(pairs, 1), rng.random(pairs.shape), -1).reshape(len(actions), -1).argmax(1)
    who = np.stack([chosen // n, chosen % n], 1)
    rows = np.arange(len(actions))
    changed = actions.copy()
    changed[rows, who[:, 0]], changed[rows, who[:, 1]] = actions[rows, who[:, 1]], actions[rows, who[:, 0]]
    return Change(changed, who, np.asarray(pairs.any((1, 2))))


def _same_target(states: SubjectStates, mine: Ints) -> Bools:
    """Return (B, N, N) whether i, taking j's action, and j, taking i's, would aim at one cell."""
    n = mine.shape[1]
    cells, facing = np.repeat(states.cells[:, :, None], n, 2), np.repeat(states.facing[:, :, None], n, 2)
    target, _ = intended(cells, facing, np.repeat(mine[:, None], n, 1))
    return np.asarray((target == target.transpose(0, 2, 1, 3)).all(-1))


def exchanged(
    change: Change, before: SubjectStates, moves: Ints, predicted: SubjectStates, finite: Bools | None = None
) -> Bools:
    """Return (B,) whether both subjects of each case end exactly where their new actions aim.

    None does whose predicted position is not finite, nor where ``finite`` (B,) says that the answer was not.
    """
    target, facing = intended(before.cells, before.facing, moves[change.actions])
    whole = np.isfinite(predicted.position).all(-1) & _column(finite)
    predicted = safe_states(predicted)
    right = (predicted.cells == target).all(-1) & (predicted.facing == facing) & predicted.alive & whole
    rows = np.arange(len(change.who))[:, None]
    return np.asarray(right[rows, change.who].all(1) & change.valid)
