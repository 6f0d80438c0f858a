"""What was played in a room: the last steps, each small enough for a thousand of them and exact enough to go on from.

A frame is kept as its difference from a key frame shared by a few neighbours, the rest of a rollout's state packed
beside it: some kilobytes a step. Knows rollouts as values, no room and no time.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from actionparty.errors import InvalidInputError
from actionparty.rollout.rollout import from_cells
from actionparty.rollout.snapshot import Snapshot, unpack
from actionparty.types import NO_ACTION, SCENE_ROWS, Floats, Frame, Ints, Scene, SubjectStates, WorldSpec

LIMIT = 1000
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
        """Bytes that this record adds."""
        own_key = len(self.key.packed) if self.key.step == self.step else 0
        return len(self.difference) + len(self.packed) + len(self.context) + own_key


class History:
    """The last steps of a branch, oldest first."""

    def __init__(self, context: int, limit: int = LIMIT) -> None:
        """Keep ``limit`` steps of rollouts whose model sees ``context`` frames."""
        self.limit = limit
        self.context = context
        self._records: deque[Record] = deque()

    @property
    def first(self) -> int:
        """The earliest step that can be gone on from."""
        return self._records[self._spare()].step

    @property
    def last(self) -> int:
        """The latest step."""
        return self._records[-1].step

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, step: int) -> Record:
        if not self._records or not self.first <= step <= self.last:
            raise InvalidInputError(f"step {step} is not kept; kept are {self.first} to {self.last}.")
        return self._records[step - self._records[0].step]

    def begin(self, scene: Scene, snapshot: Snapshot, *, keep: bool = False) -> Record:
        """Start a stretch: at step 0 of an empty history, or (``keep``) after what is there."""
        step = self.last + 1 if keep and self._records else 0
        if not keep:
            self._records.clear()
        n = snapshot.spec.subjects
        record = self._record(step, snapshot, np.full(n, NO_ACTION, np.int64), np.zeros(n, np.float32), None)
        record = replace(record, start=scene, context=zlib.compress(snapshot.cells.tobytes(), 1))
        return self._append(record)

    def append(self, snapshot: Snapshot, actions: Ints, rewards: Floats) -> Record:
        """Add what ``actions`` led to."""
        key = self._records[-1].key
        usable = key if self.last + 1 - key.step < KEY_EVERY else None
        return self._append(self._record(self.last + 1, snapshot, actions.copy(), rewards, usable))

    def cut(self, step: int) -> None:
        """Forget everything after ``step``."""
        self[step]
        while self._records[-1].step > step:
            self._records.pop()

    def snapshot(self, step: int) -> Snapshot:
        """Return the rollout as it stood at ``step``, exactly."""
        record = self[step]
        return unpack(record.spec, record.packed, self._context(step))

    def stretch(self, step: int) -> list[Record]:
        """Return the records from the start of the stretch that ``step`` belongs to (or its first kept one) to it."""
        self[step]
        found: list[Record] = []
        for record in self._back(step):
            if record.step < self.first:
                break
            found.append(record)
            if record.start is not None:
                break
        return found[::-1]

    def upto(self, step: int) -> list[Record]:
        """Return all records to ``step``."""
        self[step]
        return [record for record in self._records if record.step <= step]

    def scene(self, step: int) -> Scene:
        """Return ``step`` as a scene, with as many rows of states as are known."""
        found: list[Record] = []
        for record in islice(self._back(step), SCENE_ROWS):
            found.append(record)
            if record.start is not None:
                break
        start, rows = found[-1].start, found[::-1]
        states = [r.states for r in rows]
        actions = [r.actions for r in rows]
        if start is not None:
            rows_before = range(len(start.actions) - 1)
            states = [*(start.states[i] for i in rows_before), *states]
            actions = [*start.actions[:-1], start.actions[-1], *actions[1:]]
        spec = found[0].spec
        identities = self.snapshot(step).table["identity"].numpy().reshape(-1, 8, 8, 3).copy()
        frames = from_cells(self._context(step), *spec.grid)
        return Scene(
            spec,
            frames,
            SubjectStates.stack(states[-SCENE_ROWS:]),
            np.stack(actions[-SCENE_ROWS:]),
            identities,
            f"{spec.name} played to step {step}",
        )

    def size(self) -> int:
        """Bytes kept."""
        return sum(record.size for record in self._records)

    def _back(self, step: int) -> Iterator[Record]:
        index = step - self._records[0].step
        return (self._records[i] for i in range(index, -1, -1))

    def _context(self, step: int) -> Cells:
        """(K, M, 192) the frames that the model saw last at ``step``."""
        later: list[Cells] = []
        for record in self._back(step):
            if record.start is not None:
                whole = np.frombuffer(zlib.decompress(record.context), np.uint8)
                earlier = whole.reshape(-1, *record.cells.shape)
                return np.concatenate([earlier, *(c[None] for c in reversed(later))])[-self.context :]
            later.append(record.cells)
            if len(later) == self.context:
                break
        return np.stack(later[::-1])

    def _spare(self) -> int:
        """Return how many of the oldest records only serve as context of those after them."""
        return 0 if self._records[0].start is not None else min(self.context - 1, len(self._records) - 1)

    def _record(self, step: int, snapshot: Snapshot, actions: Ints, rewards: Floats, key: Key | None) -> Record:
        cells = np.ascontiguousarray(snapshot.cells[-1]).reshape(-1)
        if key is None:
            key = Key(step, zlib.compress(cells.tobytes(), 1))
        difference = zlib.compress((key.cells() ^ cells).tobytes(), 1)
        return Record(step, snapshot.spec, key, difference, snapshot.pack(), snapshot.states, actions, rewards)

    def _append(self, record: Record) -> Record:
        self._records.append(record)
        while len(self._records) > self.limit + self.context:
            self._records.popleft()
        return record
