"""The reality check: the real simulator beside a generated room, with the same actions from the same first frames.

A simulator can't be set to a state, so the room starts from the simulator's own live frames. It runs in a process of
its own, because starting one takes seconds in which nothing else could run. Knows worlds, no room and no torch.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from actionparty.errors import ActionPartyError
from actionparty.types import CELL, NO_ACTION, Ints, Observation, Scene, SubjectStates, World, WorldSpec
from actionparty.worlds.catalogue import check_available, make_world

FIRST_ROWS = 8
"""Steps that the simulator takes before the room starts, so that the model knows a little of the past."""


def has_simulator(world: str) -> bool:
    """Return whether the real ``world`` can run here."""
    try:
        check_available(world)
    except ActionPartyError:
        return False
    return True


@dataclass(frozen=True)
class Opening:
    """How a simulated episode begins: what it is, what was seen, and the actions (T, N) that led to each."""

    spec: WorldSpec
    seen: Sequence[Observation]
    actions: Ints

    def scene(self, context: int) -> Scene:
        """Return the scene that a room starts from, with ``context`` frames."""
        frames = np.stack([o.frame for o in self.seen])
        states = SubjectStates.stack([o.states for o in self.seen])
        identities = _identities(self.seen[0], self.spec.subjects)
        return Scene(self.spec, frames[-context:], states, self.actions, identities, "the simulator, live")


def _identities(first: Observation, subjects: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """(N, 8, 8, 3) what the first frame shows at each subject's cell."""
    h, w = (side // CELL for side in first.frame.shape[:2])
    out = np.zeros((subjects, CELL, CELL, 3), np.uint8)
    for i, (x, y) in enumerate(np.clip(first.states.cells, 0, (w - 1, h - 1)).tolist()):
        out[i] = first.frame[y * CELL : (y + 1) * CELL, x * CELL : (x + 1) * CELL]
    return out


class Beside:
    """One real world in a process of its own."""

    def __init__(self, world: str) -> None:
        self._world = world
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))

    def start(self, seed: int, rows: int = FIRST_ROWS) -> Future[Opening]:
        """Start an episode and let everybody stand still for its first ``rows``."""
        return self._pool.submit(_start, self._world, seed, rows)

    def step(self, actions: Ints) -> Future[Observation]:
        """Advance by one step."""
        return self._pool.submit(_step, actions)

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown(wait=False, cancel_futures=True)


_running: list[World] = []
"""In the process of a ``Beside``: its world."""


def _start(name: str, seed: int, rows: int) -> Opening:
    world = make_world(name)
    _running[:] = [world]
    spec = world.spec
    idle = np.full(spec.subjects, spec.actions.index("noop") if "noop" in spec.actions else 0, np.int64)
    seen = [world.reset(seed=seed)]
    while len(seen) < rows and not seen[-1].ended:
        seen.append(world.step(idle))
    nothing = np.full((1, spec.subjects), NO_ACTION, np.int64)
    return Opening(spec, seen, np.concatenate([nothing, *(idle[None] for _ in seen[1:])]))


def _step(actions: Ints) -> Observation:
    return _running[0].step(actions)
