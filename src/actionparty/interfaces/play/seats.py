"""Seats: who decides the actions of each subject of a room. Knows no transport, and no time but what it is told."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from actionparty.errors import InvalidInputError
from actionparty.interfaces.play.ops import Add, Op, Remove
from actionparty.types import Ints, Observation, Policy, WorldSpec
from actionparty.worlds.policies import policy

Kind = Literal["human", "idle", "random", "policy"]
HOLD_SECONDS = 30.0
"""How long a seat waits for a person who lost the connection."""
_TAPS = 3
"""Actions of one person that may wait for the next steps; more would lag behind what the person sees."""
_POLICIES: dict[Kind, str] = {"random": "random", "policy": "seek"}


@dataclass
class Seat:
    """Who plays one subject, and what a person wants next."""

    subject: int
    kind: Kind = "policy"
    member: int | None = None
    """The person in it, None while nobody is connected."""
    token: str = ""
    """Proves who may come back to it."""
    name: str = ""
    held_until: float | None = None
    taps: deque[int] = field(default_factory=lambda: deque(maxlen=_TAPS))
    held_action: int | None = None
    used: bool = True
    """Whether the held action was played at least once; a quick key must not be lost between two steps."""
    agent: bool = False
    """Whether it belongs to a program, for which a room may wait."""
    plan: deque[int] = field(default_factory=deque)
    """What an agent wants in the next steps; comes before everything else."""
    missed: int = 0
    """Turns in a row for which the room waited in vain."""

    def sit(self, member: int, name: str, token: str) -> None:
        """Give the seat to a person."""
        self.kind, self.member, self.name, self.token = "human", member, name, token
        self.held_until = None
        self.clear()

    def rise(self, kind: Kind = "policy") -> None:
        """Free the seat; ``kind`` plays from now on."""
        self.kind, self.member, self.name, self.token, self.held_until = kind, None, "", "", None
        self.agent = False
        self.clear()

    def lose(self, now: float) -> None:
        """Hold the seat for the person, whose connection is gone."""
        self.member, self.held_until = None, now + HOLD_SECONDS
        self.clear()

    def clear(self) -> None:
        """Forget what the person wanted."""
        self.taps.clear()
        self.plan.clear()
        self.held_action, self.used, self.missed = None, True, 0

    @property
    def ready(self) -> bool:
        """Whether there is something to play in the next step."""
        return bool(self.plan or self.taps) or self.held_action is not None

    def intend(self, actions: list[int]) -> None:
        """Play ``actions`` in the next steps, instead of what was wanted before."""
        self.clear()
        self.plan.extend(actions)

    def act(self, action: int, hold: bool) -> None:
        """Take an action for the next step, or until it is released; a plan is given up for it."""
        self.plan.clear()
        self.missed = 0
        if hold:
            self.held_action, self.used = action, False
        else:
            self.taps.append(action)

    def release(self) -> None:
        """End a held action, which is still played once if it was not yet."""
        if self.held_action is not None and not self.used:
            self.taps.append(self.held_action)
        self.held_action, self.used = None, True

    def wanted(self, idle: int) -> int:
        """Return what the person wants next, without using it up."""
        if self.plan:
            return self.plan[0]
        if self.taps:
            return self.taps[0]
        return idle if self.held_action is None else self.held_action

    def play(self, idle: int) -> int:
        """Return what the person wants next, and use it up."""
        if self.plan:
            return self.plan.popleft()
        if self.taps:
            return self.taps.popleft()
        self.used = True
        return idle if self.held_action is None else self.held_action

    def shown(self, member: int | None) -> dict[str, Any]:
        """Return what ``member`` is told of this seat."""
        return {
            "subject": self.subject,
            "kind": self.kind,
            "name": self.name,
            "mine": member is not None and self.member == member,
            "held": self.held_until is not None,
            "agent": self.agent,
        }


class Table:
    """All seats of a room and the policies that play the free ones."""

    def __init__(self, spec: WorldSpec, seed: int) -> None:
        self.seats: list[Seat] = []
        self.start(spec, seed)

    def start(self, spec: WorldSpec, seed: int, seats: list[Seat] | None = None) -> None:
        """Go on in a world of ``spec``: people keep their subjects (or ``seats``) as far as there are so many."""
        self.spec = spec
        self.seats = self.seats if seats is None else seats
        self.idle = spec.actions.index("noop") if "noop" in spec.actions else 0
        self.seats = [self.seats[i] if i < len(self.seats) else Seat(i) for i in range(spec.subjects)]
        for i, seat in enumerate(self.seats):
            seat.subject = i
            seat.clear()
        self._policies: dict[Kind, Policy] = {kind: policy(name) for kind, name in _POLICIES.items()}
        for acting in self._policies.values():
            acting.reset(spec, seed)

    def of(self, member: int) -> Seat | None:
        """Return the seat of a member."""
        return next((seat for seat in self.seats if seat.member == member), None)

    def people(self) -> list[Seat]:
        """Return the seats that belong to persons, the held ones among them."""
        return [seat for seat in self.seats if seat.kind == "human"]

    def choose(self, seen: Observation) -> Ints:
        """Return the action of every subject, (N,)."""
        return self._filled(seen, [seat.play(self.idle) for seat in self.seats])

    def expected(self) -> Ints:
        """Return what would be played now, (N,); policies count as idle."""
        return np.array([seat.wanted(self.idle) for seat in self.seats], np.int64)

    def _filled(self, seen: Observation, wanted: list[int]) -> Ints:
        actions = np.array(wanted, np.int64)
        for kind, acting in self._policies.items():
            mine = [seat.subject for seat in self.seats if seat.kind == kind]
            if mine:
                actions[mine] = acting.act(seen)[mine]
        return actions

    def expire(self, now: float) -> bool:
        """Let policies play the seats that were held long enough; return whether there were any."""
        late = [seat for seat in self.seats if seat.held_until is not None and seat.held_until <= now]
        for seat in late:
            seat.rise()
        return bool(late)


def seats_after(seats: list[Seat], ops: Sequence[Op]) -> list[Seat]:
    """Return ``seats`` once ``ops`` have added and removed subjects; raises where a person's subject is removed."""
    left = list(seats)
    for op in ops:
        if isinstance(op, Add):
            left.append(Seat(len(left)))
        elif isinstance(op, Remove):
            if left[op.subject].kind == "human":
                raise InvalidInputError(f"{left[op.subject].name} plays subject {op.subject}.")
            del left[op.subject]
    return left
