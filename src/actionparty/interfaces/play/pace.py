"""The tick of a room: when the next step is due, and how many a second there really are. Time is an argument."""

from __future__ import annotations

from collections import deque

DEFAULT_HZ = 8.0
"""As Melting Pot is played."""
_SEEN = 16
_SLOW = 0.9


class Pace:
    """A fixed tick that lets a late machine go on at once instead of catching up."""

    def __init__(self, hz: float = DEFAULT_HZ) -> None:
        self.hz = hz
        self.held = False
        """Whether it goes no faster than ``DEFAULT_HZ`` now, whatever was chosen: others wait for their turns."""
        self._due: float | None = None
        self._done: deque[float] = deque(maxlen=_SEEN)

    def due(self, now: float) -> float:
        """Return when the next step is due."""
        return now if self._due is None else self._due

    def started(self, now: float) -> None:
        """Note that a step was started; the next is due a tick after this one was, or after now where that is past."""
        tick = 1 / (min(self.hz, DEFAULT_HZ) if self.held else self.hz)
        due = self.due(now)
        self._due = due + tick if now - due < tick else now + tick

    def finished(self, now: float) -> None:
        """Note that a step is there."""
        self._done.append(now)

    def rest(self) -> None:
        """Note that nothing is due any more: paused, or nobody is there."""
        self._due = None
        self._done.clear()

    def change(self, hz: float) -> None:
        """Tick ``hz`` times a second from now on."""
        self.hz = hz
        self.rest()

    @property
    def real_hz(self) -> float:
        """Steps per second over the last ones; 0 before there are two."""
        if len(self._done) < 2 or self._done[-1] <= self._done[0]:
            return 0.0
        return (len(self._done) - 1) / (self._done[-1] - self._done[0])

    @property
    def slow(self) -> bool:
        """Whether the machine does not keep the tick."""
        return len(self._done) >= 4 and self.real_hz < _SLOW * self.hz
