"""Turns: a step that waits until every agent has chosen, for a limited time. Knows seats; time is an argument."""

from __future__ import annotations

from collections.abc import Iterable

from actionparty.interfaces.play.seats import Seat

MOST_MISSED = 3
"""Turns in a row that a room waits in vain for one agent; then it goes on without, until that one acts again."""


class Turns:
    """When the next step may start where rooms wait for agents; people are never waited for."""

    def __init__(self) -> None:
        self.limit: float | None = None
        """Seconds that a step waits at most, None where it does not wait."""
        self._since: float | None = None

    @property
    def told(self) -> str | None:
        """What people are told of it."""
        return None if self.limit is None else f"Turn by turn: each step waits up to {self.limit:g} s for agents."

    def due(self, seats: Iterable[Seat], now: float) -> float:
        """Return when the next step is due: now, or when the time of those who have not chosen is up."""
        if self.limit is None or not _late(seats):
            return now
        if self._since is None:
            self._since = now
        return self._since + self.limit

    def started(self, seats: Iterable[Seat]) -> None:
        """Note that a step starts; who has not chosen by now has missed a turn."""
        if self.limit is not None:
            for seat in _late(seats):
                seat.missed += 1
        self.rest()

    def rest(self) -> None:
        """Let the time of the next turn start anew."""
        self._since = None


def _late(seats: Iterable[Seat]) -> list[Seat]:
    return [s for s in seats if s.agent and s.member is not None and not s.ready and s.missed < MOST_MISSED]
