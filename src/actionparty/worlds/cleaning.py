"""A policy that cleans the river of ``clean_up`` and eats the apples that grow where it is clean enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actionparty.types import CELL, Bools, Frame, Observation, WorldSpec
from actionparty.worlds.scripted import STEPS, Cell, Goal, ScriptedPolicy

_CLEAN = "fire_clean"
_REACH, _COOLING = 3, 2
"""Cells ahead that the beam cleans, one to each side; steps after it in which there is no other."""
_APPLE = (212, 80, 57)
_FEWEST, _MOST = 0.12, 0.85
"""The share of subjects that clean, if there is hardly any dirt and if there is much."""
_LITTLE, _MUCH = 0.1, 0.45
"""Shares of the river that are dirty where the fewest and the most clean; apples grow below 0.36 or so."""


@dataclass
class _Job:
    """What one subject does, for how many steps more, and which cell it goes to for that."""

    cleans: bool = False
    left: int = 0
    place: Cell | None = None
    patience: int = 0
    cooling: int = 0


class CleaningPolicy(ScriptedPolicy):
    """Let some subjects clean the river, the more the dirtier it is, while the others eat apples; jobs change."""

    def reset(self, spec: WorldSpec, seed: int) -> None:
        """Start an episode; where walls, river and grass are is read from its first frame."""
        super().reset(spec, seed)
        self._jobs = [_Job() for _ in range(spec.subjects)]
        self._river = 0

    def _look(self, observation: Observation) -> None:
        means = tile_means(observation.frame)
        if not self._river:
            self._floor = frozenset(_cells(np.ptp(means, axis=-1) > 12)) | self._occupied
            self._grass = [cell for cell in _cells(is_grass(means)) if cell not in self._occupied]
            self._river = max(1, int(is_river(means).sum()))
        # a subject may have the colour of either
        self._dirt = set(_cells(is_dirty(means))) - self._occupied
        self._apples = set(_cells((observation.frame[4::CELL, 3::CELL] == _APPLE).all(-1))) - self._occupied
        for job in self._jobs:
            job.cooling -= 1
            job.left -= 1
            job.patience -= 1

    def _choose(self, i: int) -> int:
        """Clean at once what is in the beam; else go where there is something to do."""
        job = self._jobs[i]
        if job.left < 0:
            self._new_job(job)
        ready = self._alive[i] and job.cleans and job.cooling < 0 and self._rng.random() > self._epsilon
        if ready and self._dirt_ahead(i):
            job.cooling, self._progress[i].moved = _COOLING, False
            return self._action(_CLEAN)
        return super()._choose(i)

    def _new_job(self, job: _Job) -> None:
        dirty = (len(self._dirt) / self._river - _LITTLE) / (_MUCH - _LITTLE)
        cleaning = _FEWEST + (_MOST - _FEWEST) * min(1.0, max(0.0, dirty))
        job.cleans, job.left, job.place = self._rng.random() < cleaning, 25 + self._rng.randrange(100), None

    def _dirt_ahead(self, i: int) -> bool:
        return any(cell in self._dirt for cell in self._beam(i))

    def _beam(self, i: int) -> list[Cell]:
        """Return the cells that the beam of ``i`` may clean: three ahead, and those to their left and right."""
        (x, y), (dx, dy) = self._cells[i], STEPS[self._facing[i]]
        return [
            (x + far * dx - side * dy, y + far * dy + side * dx) for far in range(1, _REACH + 1) for side in (-1, 0, 1)
        ]

    def _goal(self, i: int) -> Goal | None:
        job = self._jobs[i]
        wanted = self._dirt if job.cleans else self._apples
        if job.place not in wanted and (wanted or job.patience < 0 or job.place == self._cells[i]):
            job.place, job.patience = self._target(i, wanted), 10 + self._rng.randrange(20)
        if job.place is None or (job.cleans and job.place in self._beam(i)):
            return None  # nothing to do, or the beam has to cool down
        return Goal(job.place)

    def _target(self, i: int, wanted: set[Cell]) -> Cell | None:
        """Return one of the nearest cells that nobody else goes to; a cell of grass where there are no apples."""
        (x, y), taken = self._cells[i], {job.place for job in self._jobs}
        free = sorted(wanted - taken - {self._cells[i]})
        if free:
            return min(free, key=lambda cell: abs(cell[0] - x) + abs(cell[1] - y) + 4 * self._rng.random())
        return None if self._jobs[i].cleans or not self._grass else self._rng.choice(self._grass)


def tile_means(frame: Frame) -> NDArray[np.float64]:
    """Return the mean colour of every cell, (h, w, 3), from a quarter of its pixels."""
    height, width = frame.shape[0] // CELL, frame.shape[1] // CELL
    few = frame[: height * CELL : 2, : width * CELL : 2]
    means: NDArray[np.float64] = few.reshape(height, CELL // 2, width, CELL // 2, 3).mean((1, 3))
    return means


def is_river(means: NDArray[np.float64]) -> Bools:
    """Return which cells are water, clean or dirty, (h, w)."""
    river: Bools = means[..., 2] - means[..., 0] > 60
    return river


def is_dirty(means: NDArray[np.float64]) -> Bools:
    """Return which cells are dirty water, (h, w): dirt takes the blue from it."""
    return is_river(means) & (means[..., 1] - means[..., 2] > -12) & (means[..., 0] < 45)


def is_grass(means: NDArray[np.float64]) -> Bools:
    """Return which cells are grass, where apples may grow, (h, w)."""
    grass: Bools = means[..., 1] - means[..., 2] > 80
    return grass


def _cells(mask: Bools) -> list[Cell]:
    return [(x, y) for y, x in np.argwhere(mask).tolist()]
