"""Who is in a room: people with and without a seat, and what each may do. Knows no rollout."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from actionparty.errors import InvalidInputError
from actionparty.interfaces.play import messages as m
from actionparty.interfaces.play.messages import Said
from actionparty.interfaces.play.seats import Seat, Table
from actionparty.types import WorldSpec

MOST_MEMBERS = 100


@dataclass
class Member:
    """Somebody who is connected."""

    id: int
    name: str
    token: str
    agent: bool = False


class Audience:
    """The people of a room and its seats."""

    def __init__(self, spec: WorldSpec, seed: int, new_token: Callable[[], str]) -> None:
        self.members: dict[int, Member] = {}
        self.table = Table(spec, seed)
        self._new_token = new_token

    def join(self, member: int, name: str, token: str | None) -> Member:
        """Let somebody in; a ``token`` from before gives the seat back that it belongs to.

        Raises:
            InvalidInputError: the room is full.
        """
        if len(self.members) >= MOST_MEMBERS:
            raise InvalidInputError(f"this room is full: {MOST_MEMBERS} people are in it.")
        given = (token or "").encode()
        seat = next((s for s in self.table.people() if secrets.compare_digest(s.token.encode(), given)), None)
        clean = "".join(c for c in name if c.isprintable()).strip()[: m.MOST_NAME] or f"guest {member}"
        who = Member(member, clean, seat.token if seat else self._new_token())
        self.members[member] = who
        if seat is not None:
            seat.sit(member, clean, who.token)
        return who

    def leave(self, member: int, now: float) -> bool:
        """Hold the seat of somebody whose connection is gone; return whether they were here."""
        if self.members.pop(member, None) is None:
            return False
        if seat := self.table.of(member):
            seat.lose(now)
        return True

    def seats(self) -> list[Said]:
        """Return the seats as each member sees them."""
        return [Said("seats", self.seats_for(i), i) for i in self.members]

    def seats_for(self, member: int) -> dict[str, Any]:
        """Return the seats as ``member`` sees them."""
        return {"seats": [seat.shown(member) for seat in self.table.seats], "people": len(self.members)}

    def check_steering(self, member: int) -> None:
        """Raise ``InvalidInputError`` for a spectator, as long as anybody is seated."""
        seated = any(seat.member is not None for seat in self.table.seats)
        if seated and self.table.of(member) is None:
            raise InvalidInputError("only players steer the room: take a seat first.")

    def check_free(self, subject: int) -> Seat:
        """Return a seat; raise ``InvalidInputError`` where it is a person's, or there is no such seat."""
        seat = self._seat(subject)
        if seat.kind == "human":
            raise InvalidInputError(f"{seat.name} plays subject {subject}.")
        return seat

    def _seat(self, subject: int) -> Seat:
        if subject >= len(self.table.seats):
            raise InvalidInputError(f"there is no subject {subject} in {self.table.spec.name}.")
        return self.table.seats[subject]

    def take(self, member: int, subject: int) -> list[Said]:
        """Give a seat to a member, who gives up another one for it."""
        seat = self._seat(subject)
        if seat.member == member:
            return []
        if seat.kind == "human":
            held = " (held until they are back)" if seat.held_until is not None else ""
            return [m.error("taken", f"{seat.name} plays subject {subject}{held}: take another seat.", member)]
        if mine := self.table.of(member):
            mine.rise()
        who = self.members[member]
        seat.sit(member, who.name, who.token)
        seat.agent = who.agent
        return self.seats()

    def play(self, member: int, message: m.Act | m.Plan | m.Plain) -> list[Said]:
        """Let a member act, stop acting, or leave the seat."""
        seat = self.table.of(member)
        if seat is None:
            return [m.error("no_seat", "you have no seat: take one to play.", member)]
        if isinstance(message, m.Act):
            seat.act(self.table.spec.action_index(message.action), message.hold)
            return []
        if isinstance(message, m.Plan):
            seat.intend([self.table.spec.action_index(name) for name in message.actions])
            return []
        if message.type == "release":
            seat.release()
            return []
        seat.rise()
        return self.seats()

    def set_seat(self, message: m.SetSeat) -> list[Said]:
        """Say who plays a seat that no person has."""
        self.check_free(message.subject).rise(message.kind)
        return self.seats()
