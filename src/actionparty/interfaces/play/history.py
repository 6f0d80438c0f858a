"""What was played in a room: the last steps of all its branches, each small enough for a thousand of them and exact.

A branch is the records that led to one another; two branches share those before they parted. Knows rollouts as
values, no room and no time.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from actionparty.errors import InvalidInputError
from actionparty.interfaces.play.records import KEY_EVERY, Cells, Key, Record, record
from actionparty.rollout.snapshot import Snapshot, unpack
from actionparty.rollout.table import from_cells
from actionparty.types import NO_ACTION, SCENE_ROWS, Floats, Ints, Scene, SubjectStates

LIMIT = 1000
MOST_BRANCHES = 16
NUMBERS = 2**16 - 1
"""Branches are numbered from 1 to this and then from 1 again: frames carry the number in two bytes."""


@dataclass(frozen=True)
class Branch:
    """What was played from one start or fork to its newest step."""

    number: int
    ordinal: int
    """Counts the branches since the start of the world, from 1: what people call it."""
    forked: int | None
    """The step at which it left another branch; None of the first."""
    records: list[Record]
    """Oldest first, from what it shares with others on; grows at the end and is forgotten from the front."""

    def holds(self, serial: int) -> int | None:
        """Return where the record ``serial`` stands in it, None where it does not."""
        at = bisect_left(self.records, serial, key=lambda r: r.serial)
        return at if at < len(self.records) and self.records[at].serial == serial else None


class History:
    """The branch that is played, oldest step first, and those that were left.

    At most ``limit`` steps are remembered (and the context of the earliest), all branches together: the oldest step is
    forgotten, whichever branch it is of, but never what the step that is played last needs.
    """

    def __init__(self, context: int, limit: int = LIMIT) -> None:
        """Keep ``limit`` steps of rollouts whose model sees ``context`` frames."""
        self.limit = limit
        self.context = context
        self._current = Branch(0, 0, None, [])
        self._left: dict[int, Branch] = {}
        """By number, the one left longest ago first."""
        self._kept: dict[int, Record] = {}
        """Every record of every branch once, by serial, oldest first."""
        self._serial = self._ordinal = self._number = 0

    # The branch that is played

    @property
    def branch(self) -> int:
        """The number of the branch; 0 before there is any."""
        return self._current.number

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
        if not self._records:
            raise InvalidInputError("nothing was played yet.")
        if not self.first <= step <= self.last:
            raise InvalidInputError(f"step {step} is not kept; kept are {self.first} to {self.last}.")
        return self._records[step - self._records[0].step]

    def begin(self, scene: Scene, snapshot: Snapshot, *, keep: bool = False) -> Record:
        """Start a stretch: at step 0 of an empty history, or (``keep``) after what is there."""
        if not (keep and self._records):
            self._left.clear()
            self._kept.clear()
            self._ordinal = 0
            self._current = self._branch(None, [])
        step = self.last + 1 if self._records else 0
        n = snapshot.spec.subjects
        led = np.full(n, NO_ACTION, np.int64), np.zeros(n, np.float32)
        made = self._record(step, snapshot, led, None)
        return self._append(replace(made, start=scene, context=zlib.compress(snapshot.cells.tobytes(), 1)))

    def append(self, snapshot: Snapshot, actions: Ints, rewards: Floats) -> Record:
        """Add what ``actions`` led to."""
        key = self._records[-1].key
        usable = key if self.last + 1 - key.step < KEY_EVERY else None
        return self._append(self._record(self.last + 1, snapshot, (actions.copy(), rewards), usable))

    def snapshot(self, step: int) -> Snapshot:
        """Return the rollout as it stood at ``step``, exactly."""
        found = self[step]
        return unpack(found.spec, found.packed, self._context(step))

    def stretch(self, step: int) -> list[Record]:
        """Return the records from the start of the stretch that ``step`` belongs to (or its first kept one) to it."""
        self[step]
        found: list[Record] = []
        for each in self._back(step):
            if each.step < self.first:
                break
            found.append(each)
            if each.start is not None:
                break
        return found[::-1]

    def upto(self, step: int) -> list[Record]:
        """Return all records to ``step``."""
        self[step]
        return [each for each in self._records if each.step <= step]

    def scene(self, step: int) -> Scene:
        """Return ``step`` as a scene, with as many rows of states as are known."""
        found: list[Record] = []
        for each in islice(self._back(step), SCENE_ROWS):
            found.append(each)
            if each.start is not None:
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
        return Scene(
            spec,
            from_cells(self._context(step), *spec.grid),
            SubjectStates.stack(states[-SCENE_ROWS:]),
            np.stack(actions[-SCENE_ROWS:]),
            identities,
            f"{spec.name} played to step {step}",
        )

    # The branches

    def branches(self) -> list[Branch]:
        """Return all branches that can be gone on with, in the order in which they were begun."""
        found = [*self._left.values(), *([self._current] if self._records else [])]
        return sorted(found, key=lambda branch: branch.ordinal)

    def fork(self, step: int) -> None:
        """Begin a branch at ``step``; the one that is left stays in reach if it has steps that the new one lacks."""
        self[step]
        left = self._current
        self._current = self._branch(step, [each for each in left.records if each.step <= step])
        self._leave(left)

    def switch(self, number: int) -> None:
        """Go back to a branch that was left; raise ``InvalidInputError`` where it is not remembered."""
        if number not in self._left:
            raise InvalidInputError(f"branch {number} is not kept (any more), or it is the one that is played.")
        left, self._current = self._current, self._left.pop(number)
        self._leave(left)

    def size(self) -> int:
        """Bytes kept."""
        keys = {id(each.key): each.key for each in self._kept.values()}
        return sum(len(key.packed) for key in keys.values()) + sum(each.size for each in self._kept.values())

    def remembered(self) -> int:
        """Return how many steps are kept, each once, in all branches together."""
        return len(self._kept)

    def _branch(self, forked: int | None, records: list[Record]) -> Branch:
        self._ordinal += 1
        self._number = self._number % NUMBERS + 1
        while self._number in self._left or self._number == self._current.number:
            self._number = self._number % NUMBERS + 1
        return Branch(self._number, self._ordinal, forked, records)

    def _leave(self, branch: Branch) -> None:
        """Keep a branch that is not played any more, unless others hold all of it; too many forget the oldest."""
        newest = branch.records[-1].serial
        if all(other.holds(newest) is None for other in self.branches()):
            self._left[branch.number] = branch
        if len(self._left) >= MOST_BRANCHES:
            self._forget([next(iter(self._left))])

    def _forget(self, numbers: list[int]) -> None:
        for number in numbers:
            del self._left[number]
        kept = {each.serial: each for branch in self.branches() for each in branch.records}
        self._kept = dict(sorted(kept.items()))

    def _append(self, made: Record) -> Record:
        self._records.append(made)
        self._kept[made.serial] = made
        while len(self._kept) > self.limit + self.context:
            self._drop()
        return made

    def _drop(self) -> None:
        """Forget the oldest step that the newest one does not need; in every branch nothing before it remains."""
        needed = {each.serial for each in self._records[-self.context :]}
        oldest = next(serial for serial in self._kept if serial not in needed)
        del self._kept[oldest]
        for branch in self.branches():
            at = branch.holds(oldest)
            if at is not None:
                del branch.records[: at + 1]
        lost = [number for number, branch in self._left.items() if not self._usable(branch)]
        if lost:
            self._forget(lost)

    def _usable(self, branch: Branch) -> bool:
        """Return whether there is a step in it with all the context that the model needs."""
        records = branch.records
        return bool(records) and (records[0].start is not None or len(records) >= self.context)

    # Within a branch

    @property
    def _records(self) -> list[Record]:
        return self._current.records

    def _back(self, step: int) -> Iterator[Record]:
        index = step - self._records[0].step
        return (self._records[i] for i in range(index, -1, -1))

    def _context(self, step: int) -> Cells:
        """(K, M, 192) the frames that the model saw last at ``step``."""
        later: list[Cells] = []
        for each in self._back(step):
            if each.start is not None:
                whole = np.frombuffer(zlib.decompress(each.context), np.uint8)
                earlier = whole.reshape(-1, *each.cells.shape)
                return np.concatenate([earlier, *(c[None] for c in reversed(later))])[-self.context :]
            later.append(each.cells)
            if len(later) == self.context:
                break
        return np.stack(later[::-1])

    def _spare(self) -> int:
        """Return how many of the oldest records only serve as context of those after them."""
        return 0 if self._records[0].start is not None else min(self.context - 1, len(self._records) - 1)

    def _record(self, step: int, snapshot: Snapshot, led: tuple[Ints, Floats], key: Key | None) -> Record:
        self._serial += 1
        return record(self._serial, step, snapshot, led, key)
