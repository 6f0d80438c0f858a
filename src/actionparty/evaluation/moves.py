"""What an action must do to the subject that takes it: the grid rules shared by all worlds. Knows arrays only.

A step action moves one cell relative to the facing, or not at all when something is in the way; a turn changes the
facing by a quarter; every other action leaves cell and facing alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actionparty.types import FACING_STEPS, Bools, Ints

OPEN, UNKNOWN, SOLID = 1, 0, -1
"""Whether a cell can be entered, judged by its tile: it can, nobody knows, it cannot."""
_STEPS = {"forward": (1, 0), "backward": (-1, 0), "step_left": (0, -1), "step_right": (0, 1)}
_TURNS = {"turn_left": -1, "turn_right": 1}


def move_table(actions: tuple[str, ...]) -> Ints:
    """Return (A, 3) for a world's action names: cells ahead, cells to the right, quarter turns to the right."""
    return np.array([(*_STEPS.get(name, (0, 0)), _TURNS.get(name, 0)) for name in actions], np.int64).reshape(-1, 3)


def intended(cell: Ints, facing: Ints, moves: Ints) -> tuple[Ints, Ints]:
    """Return the cell (..., 2) and facing (...) that ``moves`` (..., 3), rows of ``move_table``, aim at."""
    ahead = FACING_STEPS[facing % 4] * moves[..., :1]
    aside = FACING_STEPS[(facing + 1) % 4] * moves[..., 1:2]
    return cell + ahead + aside, (facing + moves[..., 2]) % 4


def inside(cell: Ints, grid: tuple[int, int]) -> Bools:
    """Return where cells (..., 2) lie inside a grid (h, w)."""
    h, w = grid
    return np.asarray(((cell >= 0) & (cell < np.array([w, h]))).all(-1))


def at_cells(grids: NDArray[np.int64], cell: Ints, outside: int) -> Ints:
    """Return the entry of ``grids`` (B, h, w) at cells (B, N, 2), ``outside`` beyond the border."""
    h, w = grids.shape[1:]
    x, y = np.clip(cell[..., 0], 0, w - 1), np.clip(cell[..., 1], 0, h - 1)
    values = grids[np.arange(len(grids))[:, None], y, x]
    return np.where(inside(cell, (h, w)), values, outside).astype(np.int64)


def obeyed(before: tuple[Ints, Ints], after: tuple[Ints, Ints], moves: Ints, passable: Ints, contested: Bools) -> Bools:
    """Return whether each change of (cell, facing) is what its action must do from there, (...).

    Staying obeys a step action only where the target is not ``OPEN`` (``passable``, ...) or is ``contested`` by another
    subject; entering a ``SOLID`` target never does.
    """
    target, facing = intended(*before, moves)
    stays = (after[0] == before[0]).all(-1)
    arrives = (after[0] == target).all(-1) & (passable > SOLID)
    steps = moves[..., :2].any(-1)
    placed = np.where(steps, arrives | (stays & ((passable < OPEN) | contested)), stays)
    return np.asarray(placed & (after[1] == facing))
