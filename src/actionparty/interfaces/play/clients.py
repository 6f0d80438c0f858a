"""One member of a live room as the room sees it: what waits to be sent, and what is wanted. Knows no connection."""

from __future__ import annotations

import asyncio
from typing import Protocol

from actionparty.interfaces.play.messages import Said
from actionparty.interfaces.play.wire import Outbox, Picture


class Watcher(Protocol):
    """Notes what a client is told and shown, for an agent that asks later."""

    def hear(self, said: Said) -> None:
        """Note a text."""

    def see(self, picture: Picture) -> None:
        """Note a frame."""


class Client:
    """One member of a room, a connection as a rule: what waits for it, and what it wants to see."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.outbox = Outbox()
        self.overlay = False
        self.check = False
        self.texts = self.frames = True
        """Whether texts and frames are sent; an agent in this process has no connection."""
        self.watcher: Watcher | None = None
        self.waiting = asyncio.Event()
        self.closed: str | None = None
        """Why the connection must end, None while it may go on."""

    def say(self, said: Said) -> None:
        """Queue a text."""
        if self.watcher:
            self.watcher.hear(said)
        if not self.texts:
            return
        self.outbox.say(said)
        if self.outbox.overflow:
            self.close("too slow: too many messages are unread")
        self.waiting.set()

    def show(self, picture: Picture) -> None:
        """Queue a frame."""
        if self.watcher:
            self.watcher.see(picture)
        if not self.frames:
            return
        self.outbox.show(picture)
        self.waiting.set()

    def close(self, reason: str) -> None:
        """End the connection."""
        self.closed = self.closed or reason
        self.waiting.set()
