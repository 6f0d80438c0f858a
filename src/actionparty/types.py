"""The vocabulary of the package as frozen value types over NumPy arrays.

Axes: T steps, N subjects, K context frames, h x w cells, H = 8 h and W = 8 w pixels. A *cell* is an 8x8-pixel patch
and a *tile* the picture in it. Positions are (x, y) in cells, facings index ``FACINGS``. An action is stored with the
frame it leads *into*: row t of an episode holds the frame, the states, the reward received on arrival and the action
that was taken to get there (``NO_ACTION`` in the first row). This module knows no torch and no simulator.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from actionparty.errors import InvalidInputError, unknown_name

CELL = 8
"""Pixels along one side of a cell."""
CELL_CHANNELS = CELL * CELL * 3
"""Numbers in one cell: pixels x RGB."""
FACINGS = ("N", "E", "S", "W")
FACING_STEPS = np.array([(0, -1), (1, 0), (0, 1), (-1, 0)], dtype=np.int64)
"""(dx, dy) of one step towards each facing."""
MAX_SUBJECTS = 64
SCENE_ROWS = 64
"""Rows of states that a scene should carry: models look back this far for how long a subject has been dead or alive."""
NO_ACTION = -1
"""Stands where no action led into a frame: the first row of an episode."""

Frame = NDArray[np.uint8]
"""(H, W, 3) RGB."""
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class WorldSpec:
    """What a world is: its ``name``, number of ``subjects``, ``grid`` (h, w) in cells, and ``actions`` by name."""

    name: str
    subjects: int
    grid: tuple[int, int]
    actions: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.subjects <= MAX_SUBJECTS:
            raise InvalidInputError(f"{self.name}: {self.subjects} subjects; a world has 1 to {MAX_SUBJECTS}.")

    def check_actions(self, actions: Any) -> Ints:
        """Return ``actions`` as an int64 (N,) array of indices into ``self.actions``.

        Raises:
            InvalidInputError: not one action per subject, or an index out of range.
        """
        array = np.asarray(actions)
        if array.shape != (self.subjects,):
            raise InvalidInputError(
                f"{self.name}: expected {self.subjects} actions, one per subject, but got shape {array.shape}."
            )
        if not np.issubdtype(array.dtype, np.integer) or array.min() < 0 or array.max() >= len(self.actions):
            raise InvalidInputError(
                f"{self.name}: actions must be integers from 0 to {len(self.actions) - 1}, but got {array.tolist()}."
            )
        return array.astype(np.int64)

    def action_index(self, name: str) -> int:
        """Return the index of the action called ``name``; raise ``UnknownNameError`` with the nearest names."""
        if name not in self.actions:
            raise unknown_name(f"action in {self.name}", name, self.actions)
        return self.actions.index(name)


@dataclass(frozen=True)
class SubjectStates:
    """The states of N subjects at one step, or of T x N at many: any leading axes, shared by all fields."""

    position: Floats
    """(..., N, 2) x and y in cells; the last known place of a subject that is not alive."""
    facing: Ints
    """(..., N) index into ``FACINGS``."""
    alive: Bools
    """(..., N) False while a subject is removed, dead or waiting to come back."""

    def __getitem__(self, key: Any) -> SubjectStates:
        """Index the leading axes of every field alike."""
        return SubjectStates(self.position[key], self.facing[key], self.alive[key])

    @property
    def cells(self) -> Ints:
        """(..., N, 2) the cell (x, y) that holds each subject."""
        return np.rint(self.position).astype(np.int64)

    @staticmethod
    def stack(states: list[SubjectStates]) -> SubjectStates:
        """Stack along a new leading axis."""
        return SubjectStates(*(np.stack([getattr(s, f.name) for s in states]) for f in fields(SubjectStates)))


@dataclass(frozen=True)
class Observation:
    """What a world answers to ``reset`` and ``step``."""

    frame: Frame
    states: SubjectStates
    rewards: Floats
    """(N,) received on arrival at this frame; zeros after a reset."""
    ended: bool
    """Whether the episode is over; ``reset`` before the next ``step``."""


@dataclass(frozen=True)
class Scene:
    """A starting point for a rollout: the last steps of a real (or edited) world, oldest first.

    ``frames`` are the last K of the T >= K steps whose states and actions are given, so that a model may look
    further back in states than in pixels.
    """

    world: WorldSpec
    frames: NDArray[np.uint8]
    """(K, H, W, 3)"""
    states: SubjectStates
    """(T, N, ...)"""
    actions: Ints
    """(T, N) the action that led into each step, ``NO_ACTION`` where there was none."""
    identities: NDArray[np.uint8]
    """(N, 8, 8, 3) the picture of each subject, carried unchanged through a rollout."""
    source: str = ""
    """Where it comes from, for people: e.g. ``coins seed 1000003 step 12``."""

    def __post_init__(self) -> None:
        h, w = self.world.grid
        n = self.world.subjects
        t = len(self.actions)
        expected = {
            "frames": (self.frames.shape, (len(self.frames), h * CELL, w * CELL, 3)),
            "positions": (self.states.position.shape, (t, n, 2)),
            "facings": (self.states.facing.shape, (t, n)),
            "alive": (self.states.alive.shape, (t, n)),
            "actions": (self.actions.shape, (t, n)),
            "identities": (self.identities.shape, (n, CELL, CELL, 3)),
        }
        for name, (shape, wanted) in expected.items():
            if shape != wanted:
                raise InvalidInputError(f"scene of {self.world.name}: {name} have shape {shape}, expected {wanted}.")
        if not 1 <= len(self.frames) <= t:
            raise InvalidInputError(f"scene of {self.world.name}: {len(self.frames)} frames for {t} steps of states.")
        cells = self.states.cells
        outside = (cells < 0) | (cells >= np.array([w, h]))
        if (outside.any(-1) & self.states.alive).any():
            subject = int(np.argwhere(outside.any(-1) & self.states.alive)[0][-1])
            raise InvalidInputError(f"scene of {self.world.name}: subject {subject} is outside the {w}x{h} frame.")


@dataclass(frozen=True)
class Episode:
    """A recorded stretch of a world: T rows, row 0 without an action. Frames are tiles plus a grid of tile indices.

    ``tiles`` is (P, s, s, 3) with s = 8 where the frame is made of tiles; a world that is not tile-like keeps its raw
    frames instead: then ``frames_raw`` is (T, H, W, 3), ``tiles`` is empty and ``grid`` has zero columns.
    """

    world: WorldSpec
    seed: int
    tiles: NDArray[np.uint8]
    grid: NDArray[np.uint16]
    """(T, h, w) index into ``tiles``."""
    states: SubjectStates
    """(T, N, ...)"""
    actions: Ints
    """(T, N) the action into each row."""
    rewards: Floats
    """(T, N) received on arrival at each row."""
    ended: bool
    """Whether the world ended after the last row (otherwise the recording just stopped)."""
    policy: str = ""
    """Name of the recording policy."""
    frames_raw: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.actions)

    def frames(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        """Return frames ``start`` to ``stop`` as (T', H, W, 3), a new array."""
        if self.frames_raw is not None:
            return self.frames_raw[start:stop].copy()
        grid = self.grid[start:stop]
        t, h, w = grid.shape
        return self.tiles[grid].transpose(0, 1, 3, 2, 4, 5).reshape(t, h * CELL, w * CELL, 3)

    def identities(self) -> NDArray[np.uint8]:
        """(N, 8, 8, 3) the tile at each subject's cell in the first frame in which it is alive."""
        n = self.world.subjects
        h, w = self.world.grid
        out = np.zeros((n, CELL, CELL, 3), np.uint8)
        first = np.where(self.states.alive.any(0), self.states.alive.argmax(0), 0)
        for i in range(n):
            x, y = np.clip(self.states[first[i], i].cells, 0, (w - 1, h - 1))
            frame = self.frames(int(first[i]), int(first[i]) + 1)[0]
            out[i] = frame[y * CELL : (y + 1) * CELL, x * CELL : (x + 1) * CELL]
        return out

    def scene(self, step: int, context: int, memory: int = SCENE_ROWS) -> Scene:
        """Return the scene that ends at row ``step``, with ``context`` frames and up to ``memory`` rows of states.

        Where fewer rows came before, the scene starts with row 0 repeated.
        """
        if not 0 <= step < len(self):
            raise InvalidInputError(f"{self.world.name} seed {self.seed}: no step {step} in an episode of {len(self)}.")
        rows = np.maximum(np.arange(step - max(memory, context) + 1, step + 1), 0)
        actions = self.actions[rows].copy()
        actions[: max(0, len(rows) - step - 1)] = NO_ACTION
        frames = np.concatenate([self.frames(r, r + 1) for r in rows[-context:]])
        return Scene(
            self.world,
            frames,
            self.states[rows],
            actions,
            self.identities(),
            f"{self.world.name} seed {self.seed} step {step}",
        )


@runtime_checkable
class World(Protocol):
    """A game, real or generated. Both answer alike, so recorder, evaluator, environment and playground never branch."""

    @property
    def spec(self) -> WorldSpec:
        """What this world is; fixed for the life of the object."""

    def reset(self, *, seed: int | None = None, scene: Scene | None = None) -> Observation:
        """Start an episode; a real simulator refuses a ``scene`` it cannot start from (``InvalidInputError``)."""

    def step(self, actions: Ints) -> Observation:
        """Advance by one step with ``actions`` (N,), indices into ``spec.actions``."""

    def close(self) -> None:
        """Free what the world holds; it can't be used afterwards."""


class Policy(Protocol):
    """Whoever decides the actions of all subjects of a world, without seeing more than an observation."""

    def reset(self, spec: WorldSpec, seed: int) -> None:
        """Start an episode; everything random after this follows from ``seed``."""

    def act(self, observation: Observation) -> Ints:
        """Return one action index per subject, (N,) int64."""
