"""Signs that a subject's action had an effect: changes at the right place and time. Who caused one is not recorded.

It knows tables of steps; what its signs are compared with belongs to ``data.coverage``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from actionparty.data.tables import WorldTable
from actionparty.types import FACING_STEPS, Bools, Ints, SubjectStates

REACH = tuple((ahead, right) for ahead in range(4) for right in (-1, 0, 1) if (ahead, right) != (0, 0))
"""(cells ahead, cells to the right) of a subject in which a change may be its doing: the usual beam of Melting Pot."""
SIGNS = ("around", "lasting", "own", "rewarded", "removed")
"""What may show that an action had an effect:

around: a cell in reach changed, not one in which a living subject was before or after the step, and not to take back
    such a change of the step before (so the end of a beam is no sign).
lasting: so it did, from a tile shown for two rows to another that it shows two and three rows later too, with no
    subject on it.
own: the subject's own cell changed though it stayed in it, alive, with the same facing.
rewarded: the subject received a reward other than 0.
removed: a subject in reach was alive before the step and not after it.
"""


class Steps:
    """The R - 1 steps between the rows of a table; those from one episode into the next are not ``real``."""

    def __init__(self, table: WorldTable) -> None:
        self.grid = table.grid
        self.first = table.first
        self.shape = table.spec.grid
        self.action: Ints = table.action[1:]
        self.reward = table.reward[1:]
        self.states = SubjectStates(table.position, table.facing, table.alive)
        self.before, self.after = self.states[:-1], self.states[1:]
        self.real: Bools = table.first[1:] == table.first[:-1]
        """(R - 1,)"""
        self.alive_before: Bools = self.before.alive & self.real[:, None]
        """(R - 1, N) False in steps that are not real"""
        self.moved: Ints = np.abs(self.after.cells - self.before.cells).max(-1)
        self.still: Bools = (self.moved == 0) & (self.before.facing == self.after.facing)

    def signs(self) -> dict[str, Bools]:
        """Return (R - 1, N) of each of the ``SIGNS``: whether each subject saw it."""
        index, inside = self._index(self.before.cells)
        own = np.take_along_axis(self._fresh, index, 1) & inside & self.still & self.alive_before & self.after.alive
        return {
            "around": self._in_reach(self._around),
            "lasting": self._in_reach(self._lasting),
            "own": own,
            "rewarded": (self.reward != 0) & self.real[:, None],
            "removed": self._in_reach(self._cells_of(self.alive_before & ~self.after.alive)),
        }

    def lasting_kinds(self, subjects: Bools) -> Counter[int]:
        """Return how often each kind of lasting change was seen in reach of ``subjects`` (R - 1, N)."""
        seen: Counter[int] = Counter()
        for index, inside in self._reach():
            step, subject = np.nonzero(np.take_along_axis(self._lasting, index, 1) & inside & subjects)
            cell = index[step, subject]
            seen.update(_kinds(self.grid[step, cell], self.grid[step + 2, cell]).tolist())
        return seen

    def kinds_of_change(self) -> Ints:
        """Return how often each distinct (tile before, tile after) was seen."""
        step, cell = np.nonzero((self.grid[1:] != self.grid[:-1]) & self.real[:, None])
        return np.unique(_kinds(self.grid[step, cell], self.grid[step + 1, cell]), return_counts=True)[1]

    @cached_property
    def _around(self) -> Bools:
        """(R - 1, M) whether each cell changed afresh without a subject on it."""
        return self._fresh & ~self._held[:-1] & ~self._held[1:]

    @cached_property
    def _fresh(self) -> Bools:
        """(R - 1, M) whether each cell changed, other than by taking back such a change of the step before."""
        fresh: Bools = (self.grid[1:] != self.grid[:-1]) & self.real[:, None]
        back = (self.grid[2:] == self.grid[:-2]) & self.real[:-1, None]
        for step in range(1, len(fresh)):
            fresh[step] &= ~(back[step - 1] & fresh[step - 1])
        return fresh

    @cached_property
    def _lasting(self) -> Bools:
        """(R - 1, M) whether a tile shown for two rows gave way to one shown two and three rows later too.

        False in the first and the last two steps of an episode, where nobody knows.
        """
        lasting = np.zeros(self._around.shape, np.bool_)
        grid, held, first = self.grid, self._held, self.first
        if len(grid) < 5:
            return lasting
        settled = (grid[:-4] == grid[1:-3]) & (grid[1:-3] != grid[3:-1]) & (grid[3:-1] == grid[4:])
        together = (first[:-4] == first[4:])[:, None]
        lasting[1:-2] = self._around[1:-2] & settled & together & ~held[3:-1] & ~held[4:]
        return lasting

    @cached_property
    def _held(self) -> Bools:
        """(R, M) whether a living subject is in each cell."""
        index, inside = self._index(self.states.cells)
        held = np.zeros(self.grid.shape, np.bool_)
        row, subject = np.nonzero(self.states.alive & inside)
        held[row, index[row, subject]] = True
        return held

    def _cells_of(self, subjects: Bools) -> Bools:
        """(R - 1, N) -> (R - 1, M) the cells in which ``subjects`` were before the step."""
        index, inside = self._index(self.before.cells)
        cells = np.zeros((len(self.real), self.grid.shape[1]), np.bool_)
        row, subject = np.nonzero(subjects & inside)
        cells[row, index[row, subject]] = True
        return cells

    def _in_reach(self, cells: Bools) -> Bools:
        """(R - 1, M) -> (R - 1, N) whether any of ``cells`` was in reach of each subject before the step."""
        found = np.zeros(self.before.alive.shape, np.bool_)
        for index, inside in self._reach():
            found |= np.take_along_axis(cells, index, 1) & inside
        return found

    def _reach(self) -> Iterator[tuple[Ints, Bools]]:
        """Yield, for each of ``REACH``, that cell of every subject before the step, as ``_index`` does."""
        ahead, right = FACING_STEPS[self.before.facing], FACING_STEPS[(self.before.facing + 1) % 4]
        for i, j in REACH:
            yield self._index(self.before.cells + i * ahead + j * right)

    def _index(self, cells: Ints) -> tuple[Ints, Bools]:
        """Return the indices of ``cells`` (..., 2) in a row of the grid, 0 where outside, and which are inside."""
        h, w = self.shape
        x, y = cells[..., 0], cells[..., 1]
        inside: Bools = (x >= 0) & (x < w) & (y >= 0) & (y < h)
        return np.where(inside, y * w + x, 0), inside


def _kinds(before: np.ndarray, after: np.ndarray) -> Ints:
    """Return one number for each pair of tiles."""
    kinds: Ints = before.astype(np.int64) << 32 | after
    return kinds
