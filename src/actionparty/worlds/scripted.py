"""What scripted subjects have in common: ways around others, strolls where a way is blocked, and some chance.

What they do in a world is said by the policies built on this one (``cooking``, ``cleaning``).
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Set
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from actionparty.errors import InvalidInputError
from actionparty.types import FACING_STEPS, Ints, Observation, WorldSpec
from actionparty.vocabulary import MOVES
from actionparty.worlds.seeking import action_shares

Cell = tuple[int, int]
"""(x, y)"""
STEPS: tuple[Cell, ...] = tuple((dx, dy) for dx, dy in FACING_STEPS.tolist())

_STRAIGHT = ("forward", "step_right", "backward", "step_left")
_TURNING = ("forward", "turn_right", "turn_right", "turn_left")
"""Actions that lead, or turn, towards a direction 0 to 3 quarter turns clockwise of the facing."""
_TURN_FIRST = 0.4
"""How often a subject turns to where it goes, instead of going there sideways or backwards."""
_OCCUPIED_COST = 15
"""Steps that a way around somebody may be longer before it is better to wait until they have gone."""
_STUCK, _GIVE_WAY = 2, 0.5
"""Steps without getting on, after which a subject strolls off with this chance at each step."""


@dataclass(frozen=True)
class Goal:
    """A cell to stand on; with an ``effect``, one to stand beside and face, to use the effect on it."""

    place: Cell
    effect: str = ""


@dataclass
class _Progress:
    """How one subject gets on: where it was and wanted to be, and a stroll that it takes before anything else."""

    before: Cell = (-1, -1)
    moved: bool = False
    stuck: int = 0
    stroll: Cell = (0, 0)
    patience: int = 0


class ScriptedPolicy(ABC):
    """Send every subject to its ``_goal``, around the others; the frame is read by ``_look``, which sets the floor.

    With probability ``epsilon`` an action is drawn at random, and who is blocked strolls off for some steps, so that
    what happens is varied and nobody stays stuck.
    """

    def __init__(self, epsilon: float = 0.06) -> None:
        if not 0 <= epsilon <= 1:
            raise InvalidInputError(f"epsilon is a probability, but got {epsilon}.")
        self._epsilon = epsilon

    def reset(self, spec: WorldSpec, seed: int) -> None:
        """Start an episode."""
        self._spec = spec
        self._rng = random.Random(f"scripted {seed}")
        self._index = {name: i for i, name in enumerate(spec.actions)}
        self._edges = np.cumsum(action_shares(spec.actions)).tolist()
        self._progress = [_Progress() for _ in range(spec.subjects)]
        self._floor: Set[Cell] = frozenset()

    def act(self, observation: Observation) -> Ints:
        """Return one action index per subject, (N,)."""
        states = observation.states
        self._cells: list[Cell] = [(x, y) for x, y in states.cells.tolist()]
        self._facing: list[int] = states.facing.tolist()
        self._alive: list[bool] = states.alive.tolist()
        self._occupied = {cell for cell, alive in zip(self._cells, self._alive, strict=True) if alive}
        self._look(observation)
        return np.array([self._choose(i) for i in range(self._spec.subjects)], np.int64)

    @abstractmethod
    def _look(self, observation: Observation) -> None:
        """Read the frame; called once a step."""

    @abstractmethod
    def _goal(self, i: int) -> Goal | None:
        """Return where ``i`` is going, None where it has nothing to do."""

    def _choose(self, i: int) -> int:
        progress, cell = self._progress[i], self._cells[i]
        blocked = progress.moved and cell == progress.before
        progress.stuck = progress.stuck + 1 if blocked else progress.stuck if not progress.moved else 0
        progress.before, progress.moved = cell, False
        if not self._alive[i] or self._rng.random() < self._epsilon:
            return self._random_action()
        if progress.stuck >= _STUCK and self._rng.random() < _GIVE_WAY:
            self._stroll(i, 2 + self._rng.randrange(6))
        if progress.patience > 0 and cell != progress.stroll:
            progress.patience -= 1
            return self._towards(i, Goal(progress.stroll))
        progress.patience = 0
        goal = self._goal(i)
        return self._idle(i) if goal is None else self._towards(i, goal)

    def _idle(self, i: int) -> int:
        """Stand about, or begin to stroll."""
        if self._rng.random() < 0.2:
            self._stroll(i, 2 + self._rng.randrange(6))
        return self._random_move() if self._rng.random() < 0.3 else self._action("noop")

    def _stroll(self, i: int, steps: int) -> None:
        """Let ``i`` go for some steps to a place that it can reach without asking anybody to move."""
        others = self._occupied - {self._cells[i]}
        near = sorted(reach(self._floor, [self._cells[i]], others, limit=8))
        progress = self._progress[i]
        progress.stroll, progress.patience, progress.stuck = self._rng.choice(near), steps, 0

    def _towards(self, i: int, goal: Goal) -> int:
        """Return the action that brings ``i`` on: use the effect, turn to the place, or go one step."""
        (x, y), (gx, gy) = self._cells[i], goal.place
        if goal.effect and abs(gx - x) + abs(gy - y) == 1:
            turn = self._turn(i, (gx - x, gy - y))
            return self._action(_TURNING[turn] if turn else goal.effect)
        way = first_step(self._floor, self._occupied, self._cells[i], goal.place, beside=bool(goal.effect))
        if way is None:
            return self._random_move()
        turn = self._turn(i, way)
        if turn and self._rng.random() < _TURN_FIRST:
            return self._action(_TURNING[turn])
        self._progress[i].moved = True
        return self._action(_STRAIGHT[turn])

    def _turn(self, i: int, step: Cell) -> int:
        """Return the quarter turns clockwise from the facing of ``i`` to ``step``, which has length 1."""
        return (STEPS.index(step) - self._facing[i]) % 4

    def _ahead(self, i: int, distance: int = 1) -> Cell:
        (x, y), (dx, dy) = self._cells[i], STEPS[self._facing[i]]
        return x + distance * dx, y + distance * dy

    def _action(self, name: str) -> int:
        return self._index[name] if name in self._index else self._random_action()

    def _random_move(self) -> int:
        return self._action(self._rng.choice(MOVES))

    def _random_action(self) -> int:
        drawn = self._rng.random() * self._edges[-1]
        return next((i for i, edge in enumerate(self._edges) if drawn < edge), len(self._edges) - 1)


def neighbours(cell: Cell) -> list[Cell]:
    """Return the four cells beside ``cell``, also where there is none."""
    return [(cell[0] + dx, cell[1] + dy) for dx, dy in STEPS]


def reach(
    floor: Set[Cell], starts: Iterable[Cell], blocked: Set[Cell] = frozenset(), limit: int = 10**6
) -> dict[Cell, int]:
    """Return the steps to every cell of the floor that can be reached from the nearest of ``starts``."""
    found = dict.fromkeys(starts, 0)
    queue = list(found)
    for cell in queue:
        if found[cell] < limit:
            for beside in neighbours(cell):
                if beside in floor and beside not in found and beside not in blocked:
                    found[beside] = found[cell] + 1
                    queue.append(beside)
    return found


def first_step(floor: Set[Cell], occupied: Set[Cell], start: Cell, place: Cell, beside: bool) -> Cell | None:
    """Return the first step (dx, dy) of a shortest way to ``place``, or to a cell beside it; None where there is none.

    Occupied cells may be crossed at a cost, because whoever is there may go on (A* search).
    """
    queue = [(0, 0, start, (0, 0))]
    cost = {start: 0}
    while queue:
        _, done, cell, first = heappop(queue)
        left = abs(place[0] - cell[0]) + abs(place[1] - cell[1]) - int(beside)
        if left == 0:
            return first if first != (0, 0) else None
        if -done > cost[cell]:
            continue
        for step in STEPS:
            after = cell[0] + step[0], cell[1] + step[1]
            if after not in floor:
                continue
            total = cost[cell] + 1 + (_OCCUPIED_COST if after in occupied else 0)
            if total < cost.get(after, 10**9):
                cost[after] = total
                far = abs(place[0] - after[0]) + abs(place[1] - after[1]) - int(beside)
                heappush(queue, (total + far, -total, after, step if cell == start else first))
    return None
