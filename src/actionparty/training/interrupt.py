"""Ctrl-C and the wish of another program to end (SIGTERM), heard between two steps instead of inside one."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class DeferredInterrupt:
    """While entered, Ctrl-C and SIGTERM only set ``asked``, so that no step is cut in half.

    A second Ctrl-C stops at once.
    """

    def __init__(self) -> None:
        self.asked = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True

    def __enter__(self) -> DeferredInterrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                signal.signal(number, handler)
