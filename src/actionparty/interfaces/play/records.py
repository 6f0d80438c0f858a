"""One remembered step: a frame as its difference from a key frame, and the rest of the rollout packed beside it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actionparty.rollout.snapshot import Snapshot
from actionparty.rollout.table import from_cells
from actionparty.types import Floats, Frame, Ints, Scene, SubjectStates, WorldSpec

KEY_EVERY = 16
Cells = NDArray[np.uint8]


@dataclass(frozen=True)
class Key:
    """A whole frame, compressed, that up to ``KEY_EVERY`` records refer to."""

    step: int
    packed: bytes

    def cells(self) -> Cells:
        """(M * 192,)"""
        return np.frombuffer(zlib.decompress(self.packed), np.uint8)


@dataclass(frozen=True)
class Record:
    """One step as it was shown."""

    serial: int
    """Counts the records of a history; two branches share those that came before they parted."""
    step: int
    spec: WorldSpec
    key: Key
    difference: bytes
    """The frame's cells against the key's, compressed."""
    packed: bytes
    """The rollout without its context frames."""
    states: SubjectStates
    actions: Ints
    """(N,) what led here, ``NO_ACTION`` at a start."""
    rewards: Floats
    start: Scene | None = None
    """Where a new stretch begins, from this scene; what came before did not lead here."""
    context: bytes = b""
    """Of a start: all context frames, compressed."""

    @property
    def cells(self) -> Cells:
        """(M, 192)"""
        difference = np.frombuffer(zlib.decompress(self.difference), np.uint8)
        return (self.key.cells() ^ difference).reshape(-1, 192)

    @property
    def frame(self) -> Frame:
        """(H, W, 3)"""
        return from_cells(self.cells, *self.spec.grid)

    @property
    def size(self) -> int:
        """Bytes of its own, without the key frame that it shares."""
        return len(self.difference) + len(self.packed) + len(self.context)


def record(serial: int, step: int, snapshot: Snapshot, led: tuple[Ints, Floats], key: Key | None) -> Record:
    """Return ``snapshot`` as a record; ``led``: the actions and rewards of the step; without ``key`` it is one."""
    cells = np.ascontiguousarray(snapshot.cells[-1]).reshape(-1)
    if key is None:
        key = Key(step, zlib.compress(cells.tobytes(), 1))
    difference = zlib.compress((key.cells() ^ cells).tobytes(), 1)
    return Record(serial, step, snapshot.spec, key, difference, snapshot.pack(), snapshot.states, *led)
