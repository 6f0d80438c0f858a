"""The eyes of an agent in a room: notes what happens between two looks, and waits until a plan is played."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import numpy as np

from actionparty.errors import InvalidInputError
from actionparty.evaluation.moves import move_table
from actionparty.interfaces.agents.legend import Legend
from actionparty.interfaces.agents.sight import Sight
from actionparty.interfaces.play import messages as m
from actionparty.interfaces.play.clients import Client
from actionparty.interfaces.play.live import LiveRoom
from actionparty.interfaces.play.messages import Said
from actionparty.interfaces.play.seats import Seat
from actionparty.interfaces.play.wire import Picture

MOST_EVENTS = 24
PLAN_SECONDS = 45.0
"""How long one plan is waited for; what is left of it then is given up. MCP clients wait a minute, as a rule."""
FIRST_SECONDS = 30.0
"""How long the first frame of a room is waited for."""


class RefusedError(InvalidInputError):
    """What a room refused, which it has told the client already."""


class Eyes:
    """What one agent sees of its room."""

    def __init__(self, live: LiveRoom, client: Client) -> None:
        """Look through ``client``, which is about to join ``live``."""
        self.live, self.client = live, client
        client.watcher = self
        self.picture: Picture | None = None
        self.refused: str | None = None
        """Why the last thing that was asked for could not be done."""
        self._events: deque[str] = deque(maxlen=MOST_EVENTS)
        self._rewards = np.zeros(0)
        self._unplayed = -1
        """The last step that was seen while something of the plan was left to play."""
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()

    @property
    def seat(self) -> Seat | None:
        """The agent's seat, None for a spectator."""
        return self.live.room.table.of(self.client.number)

    # What the room tells

    def hear(self, said: Said) -> None:
        """Note a text."""
        if said.type == "notice":
            self._events.append(str(said.fields["message"]).rstrip("."))
        elif said.type == "error":
            self.refused = str(said.fields["message"])
        elif said.type == "closed":
            self._news.set()

    def see(self, picture: Picture) -> None:
        """Note a frame and what is new in it."""
        if picture.simulator:
            return
        before, seat = self.picture, self.seat
        self.picture = picture
        if seat is not None and seat.plan:
            self._unplayed = picture.step
        if len(picture.rewards) != len(self._rewards):
            self._rewards = np.zeros(len(picture.rewards))
        if before is not None and _follows(before, picture):
            self._compare(before, picture, None if seat is None else seat.subject)
        self._news.set()

    def _compare(self, before: Picture, now: Picture, you: int | None) -> None:
        self._rewards += now.rewards
        names = self.live.room.spec.actions
        for i in range(len(now.rewards)):
            who = "you" if i == you else f"subject {i}"
            action = names[int(now.actions[i])] if 0 <= int(now.actions[i]) < len(names) else "noop"
            if abs(float(now.rewards[i])) >= 0.01:
                self._events.append(f"step {now.step}: {who} received {float(now.rewards[i]):+.2g} after {action}")
            if before.states.alive[i] != now.states.alive[i]:
                came = "came back" if now.states.alive[i] else "left the world"
                self._events.append(f"step {now.step}: {who} {came}")
        if you is not None and _blocked(before, now, you, names):
            self._events.append(f"step {now.step}: your {names[int(now.actions[you])]} was blocked")

    # What the agent asks

    def ask(self, message: m.Message) -> None:
        """Pass a message to the room; raise ``RefusedError`` where it can't be done."""
        self.refused = None
        self.live.handle(self.client, message)
        if self.refused is not None:
            raise RefusedError(self.refused)

    async def restart(self, message: m.Reset) -> None:
        """Start the room anew and wait for its first frame; raises as ``ask``."""
        await self._first()
        before = self.picture
        self.ask(message)
        await self._until(lambda: self.picture is not before and self.picture is not None and self.picture.step == 0)

    async def look(self, legend: Legend) -> Sight:
        """Return what is to be seen and what happened since the last look; waits for the first frame of a room."""
        await self._first()
        assert self.picture is not None
        seat = self.seat
        you = seat.subject if seat is not None and seat.subject < len(self.picture.actions) else None
        seen = Sight(self.live.room, self.picture, legend, you, self._rewards.tolist(), tuple(self._events))
        self._rewards = np.zeros(len(self.picture.rewards))
        self._events.clear()
        return seen

    async def play(self, actions: list[str], seconds: float = PLAN_SECONDS) -> int:
        """Play ``actions``, one a step, and return how many were played once the last of them is seen.

        Fewer are when the room starts anew, stands still or takes longer than ``seconds``; the rest is given up.

        Raises:
            InvalidInputError: no seat, no such action, or another plan of this seat is being played.
        """
        if self._turn.locked():
            raise InvalidInputError("your last plan is still being played: wait for its answer, then act again.")
        async with self._turn:
            await self._first()
            assert self.picture is not None
            self._unplayed = self.picture.step
            self.ask(m.Plan(type="plan", actions=actions))
            branch = self.picture.branch
            try:
                async with asyncio.timeout(seconds):
                    while not self._finished(branch):
                        await self._next()
            except TimeoutError:
                self._events.append(f"the room took longer than {seconds:g} s: the rest of your plan was given up")
            return self._give_up(len(actions))

    def _finished(self, branch: int) -> bool:
        seat = self.seat
        assert self.picture is not None
        if seat is None or self.client.closed is not None or self.picture.branch != branch:
            self._events.append("the room started anew or closed before your plan was played")
            return True
        return not seat.plan and self.picture.step > self._unplayed

    def _give_up(self, asked: int) -> int:
        """Drop what is left of the plan; return how many of the ``asked`` actions were played."""
        if (seat := self.seat) is None:
            return 0
        left = len(seat.plan)
        seat.plan.clear()
        return asked - left

    async def _first(self) -> None:
        await self._until(lambda: self.picture is not None)

    async def _until(self, seen: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(FIRST_SECONDS):
                while not seen():
                    await self._next()
        except TimeoutError:
            raise InvalidInputError("the room shows nothing yet: try again, or open another one.") from None

    async def _next(self) -> None:
        self._news.clear()
        await self._news.wait()


def _follows(before: Picture, now: Picture) -> bool:
    """Return whether ``now`` is what one step led to from ``before``."""
    return (now.branch, now.step) == (before.branch, before.step + 1) and len(now.actions) == len(before.actions)


def _blocked(before: Picture, now: Picture, you: int, names: tuple[str, ...]) -> bool:
    action = int(now.actions[you])
    if not (0 <= action < len(names) and before.states.alive[you] and now.states.alive[you]):
        return False
    steps = bool(move_table(names)[action, :2].any())
    return steps and bool((before.states.cells[you] == now.states.cells[you]).all())
