"""Whose turn it is: work waits in line by who opened its room, and all openers get the same time. Knows no threads.

Whoever opened fifteen rooms pays with all of them from the time of one, and within that the rooms share alike: the
next turn goes to the opener, and of theirs to the room, that used the least time so far. A step can't be interrupted:
while turns come late, one worker is therefore kept free of whoever has all the others. Time is an argument.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

LATE_SECONDS = 1 / 16
"""Half a tick of 8 Hz: where something waited longer for its turn, there is more to do than fits."""
BEHIND_SECONDS = 2.0
"""How long that is remembered."""
_KEPT = 256

T = TypeVar("T")


@dataclass(frozen=True)
class Owner:
    """Whom work is for: a room, and who opened it."""

    opener: str = ""
    room: str = ""


class Shares:
    """The seconds that each of several names has used; who was away has saved nothing up."""

    def __init__(self) -> None:
        self._used: dict[str, float] = {}
        self._now = 0.0
        """What the one had used that got the last turn."""

    def enter(self, name: str) -> None:
        """Note that ``name`` has something to do again."""
        self._used[name] = max(self._used.pop(name, 0.0), self._now)
        if len(self._used) > _KEPT:
            self._used = {other: used for other, used in self._used.items() if used > self._now or other == name}

    def used(self, name: str) -> float:
        """Return what decides about turns: the least comes first."""
        return self._used.get(name, self._now)

    def begin(self, name: str, guess: float) -> None:
        """Note that ``name`` has a turn that may take ``guess`` seconds."""
        self._now = max(self._now, self.used(name))
        self.charge(name, guess)

    def charge(self, name: str, seconds: float) -> None:
        """Add to what ``name`` has used."""
        self._used[name] = self.used(name) + seconds


@dataclass(frozen=True, eq=False)
class Turn(Generic[T]):
    """Something that waits, or has its turn."""

    owner: Owner
    what: T
    since: float
    guess: float = 0.0


class FairLine(Generic[T]):
    """What waits for a turn; not safe for threads."""

    def __init__(self, workers: int = 1) -> None:
        """Give turns to so many ``workers``, each of which asks for one again when it is done."""
        self._workers = workers
        self._waiting: dict[Owner, deque[Turn[T]]] = {}
        self._openers = Shares()
        self._rooms: dict[str, Shares] = {}
        self._guess = 0.0
        self._running: Counter[str] = Counter()
        self._here: dict[str, float] = {}
        """When each opener last wanted something, of those who did lately."""
        self._late_at = float("-inf")

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def push(self, owner: Owner, what: T, now: float) -> None:
        """Let ``what`` wait behind what its owner wants already."""
        if not any(other.opener == owner.opener for other in self._waiting):
            self._openers.enter(owner.opener)
        if owner not in self._waiting:
            self._rooms.setdefault(owner.opener, Shares()).enter(owner.room)
        self._waiting.setdefault(owner, deque()).append(Turn(owner, what, now))
        self._here = {name: at for name, at in self._here.items() if now - at < BEHIND_SECONDS}
        self._here[owner.opener] = now

    def pop(self, now: float, fits: Callable[[T], bool] = lambda _: True) -> Turn[T] | None:
        """Take the next one that ``fits`` and is the first of its owner; None where there is none.

        None too where the last worker is kept free: some turn is then under way, and ``pop`` to be called after it.
        """
        crowded = self._crowded(now)
        owners = [o for o, turns in self._waiting.items() if o.opener not in crowded and fits(turns[0].what)]
        if not owners:
            return None
        owner = min(owners, key=self._place)
        turns = self._waiting[owner]
        taken = turns.popleft()
        if not turns:
            del self._waiting[owner]
        self._running[owner.opener] += 1
        if now - taken.since > LATE_SECONDS:
            self._late_at = now
        self._openers.begin(owner.opener, self._guess)
        self._rooms[owner.opener].begin(owner.room, self._guess)
        return Turn(owner, taken.what, taken.since, self._guess)

    def done(self, turn: Turn[T], seconds: float) -> None:
        """Charge a turn that is over with what it really took."""
        self._guess = seconds or self._guess
        opener = turn.owner.opener
        self._running[opener] -= 1
        self._running += Counter()  # forgets those who have none
        self._openers.charge(opener, seconds - turn.guess)
        if opener in self._rooms:
            self._rooms[opener].charge(turn.owner.room, seconds - turn.guess)
        if not self._running and not self._waiting:  # nobody had to wait for anybody: nothing is owed
            self._openers, self._rooms = Shares(), {}
        elif len(self._rooms) > _KEPT:
            here = {owner.opener for owner in self._waiting}
            self._rooms = {name: shares for name, shares in self._rooms.items() if name in here}

    def clear(self) -> list[T]:
        """Take everything that waits, without a turn."""
        left = [turn.what for turns in self._waiting.values() for turn in turns]
        self._waiting.clear()
        return left

    def behind(self, now: float) -> bool:
        """Return whether there was more to do lately than fits."""
        return now - self._late_at < BEHIND_SECONDS

    def _crowded(self, now: float) -> set[str]:
        """Return who has all workers but one already, where turns come late and others were here lately."""
        if self._workers < 2 or not self.behind(now):
            return set()
        return {
            opener
            for opener, running in self._running.items()
            if running >= self._workers - 1
            and any(other != opener and now - at < BEHIND_SECONDS for other, at in self._here.items())
        }

    def _place(self, owner: Owner) -> tuple[float, float, float]:
        used = self._rooms[owner.opener].used(owner.room)
        return self._openers.used(owner.opener), used, self._waiting[owner][0].since
