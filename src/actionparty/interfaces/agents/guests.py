"""Guests: agents that hold a seat without a connection, by a token; who is silent for long loses it. Knows no MCP."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field

from actionparty.errors import InvalidInputError
from actionparty.interfaces.agents.desk import Desk
from actionparty.interfaces.agents.eyes import Eyes
from actionparty.interfaces.play import messages as m
from actionparty.interfaces.play.clients import Client
from actionparty.interfaces.play.hub import Hub
from actionparty.interfaces.play.limits import Bucket

MOST_GUESTS = 32
SILENT_SECONDS = 180.0
"""After so long without a word a guest's seat is played by a policy."""
CALLS_PER_SECOND, CALLS_AT_ONCE = 20.0, 40.0
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


@dataclass
class Guest:
    """An agent in a room."""

    token: str
    eyes: Eyes
    bucket: Bucket
    calls: int = 0
    """Under way now."""
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)


class Guests:
    """The guests of a server; lives in its event loop."""

    def __init__(self, hub: Hub, desk: Desk, silent_seconds: float = SILENT_SECONDS) -> None:
        self.hub, self.desk, self.silent_seconds = hub, desk, silent_seconds
        self._guests: dict[str, Guest] = {}
        self._gone: dict[str, str] = {}
        """Why a token is no longer good."""

    def seat(self, room: str, subject: int | None, name: str) -> Guest:
        """Let an agent into ``room`` and give it a seat: that of ``subject``, else the first that nobody has.

        Raises:
            InvalidInputError: no such room, no free seat, somebody has it, or too many agents are here.
        """
        if len(self._guests) >= MOST_GUESTS:
            raise InvalidInputError(f"{MOST_GUESTS} agents are here already: let some of them leave.")
        live = self.hub.rooms.get(room)
        if live is None:
            raise InvalidInputError(f"there is no room {room[:24]!r} (any more): list the rooms, or open one.")
        client = Client(self.hub.new_number())
        client.texts = client.frames = False
        eyes = Eyes(live, client)
        live.join(client, m.Hello(type="hello", name=name[: m.MOST_NAME], agent=True))
        try:
            free = [seat.subject for seat in live.room.table.seats if seat.kind != "human"]
            if subject is None and not free:
                raise InvalidInputError("all seats of this room are taken: join another one, or open one.")
            eyes.ask(m.Take(type="take", subject=free[0] if subject is None else subject))
        except InvalidInputError:
            live.leave(client)
            raise
        token = "".join(secrets.choice(_LETTERS) for _ in range(12))
        guest = Guest(token, eyes, Bucket(self.hub.clock(), CALLS_PER_SECOND, CALLS_AT_ONCE))
        self._guests[token] = guest
        self._listen(guest)
        return guest

    def enter(self, token: str) -> Guest:
        """Return the guest of a seat token for one call; ``done`` must follow.

        Raises:
            InvalidInputError: not (or no longer) a token of this server, too many calls, or the room is closed.
        """
        guest = self._guests.get(token)
        if guest is None:
            why = self._gone.get(token, "there is no such seat token; take_seat gives one")
            raise InvalidInputError(f"{why}: take a seat first.")
        if guest.eyes.client.closed is not None:
            self._forget(guest, f"this room is closed ({guest.eyes.client.closed})")
            raise InvalidInputError(f"{self._gone[token]}: take a seat in another one.")
        if not guest.bucket.take(self.hub.clock()):
            raise InvalidInputError("too many calls at once: wait a second.")
        guest.calls += 1
        return guest

    def done(self, guest: Guest) -> None:
        """Note that a call is answered; the time of silence begins."""
        guest.calls -= 1
        if guest.token in self._guests:
            self._listen(guest)

    def leave(self, guest: Guest, why: str = "you left") -> None:
        """Give the seat of a guest to a policy and let the guest out."""
        live, client = guest.eyes.live, guest.eyes.client
        if guest.eyes.seat is not None:
            live.handle(client, m.Plain(type="leave"))
        live.leave(client)
        self._forget(guest, why)

    def close(self) -> None:
        """Let everybody out."""
        for guest in list(self._guests.values()):
            self.leave(guest, "the server is shutting down")

    def __len__(self) -> int:
        return len(self._guests)

    def _listen(self, guest: Guest) -> None:
        if guest.timer:
            guest.timer.cancel()
        guest.timer = asyncio.get_running_loop().call_later(self.silent_seconds, self._silent, guest)

    def _silent(self, guest: Guest) -> None:
        if guest.calls == 0:
            self.leave(guest, f"this seat was given up after {self.silent_seconds:g} s of silence")

    def _forget(self, guest: Guest, why: str) -> None:
        if guest.timer:
            guest.timer.cancel()
        self._guests.pop(guest.token, None)
        self._gone[guest.token] = why
        while len(self._gone) > 1000:
            del self._gone[next(iter(self._gone))]
