"""The reality check of a live room: the real simulator gets the room's actions, and those who want to see its frames.

The simulator is an extra: whatever happens to it, the room goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from actionparty.errors import InvalidInputError
from actionparty.interfaces.play import messages as m
from actionparty.interfaces.play.check import Beside, Opening, has_simulator
from actionparty.interfaces.play.clients import Client
from actionparty.interfaces.play.jobs import Begin, Step
from actionparty.interfaces.play.messages import Said
from actionparty.interfaces.play.room import Room
from actionparty.interfaces.play.wire import Picture
from actionparty.types import Ints, Observation, Scene

SIMULATOR_SECONDS = 10.0
"""How long a room waits for one step of the simulator."""
_LOG = logging.getLogger(__name__)
_AWAY = "the room went another way, where the simulator can't follow"


class Reality:
    """The simulator beside a room, while somebody wants it."""

    def __init__(self, room: Room, clients: Mapping[int, Client], deliver: Callable[[Iterable[Said]], None]) -> None:
        self._room, self._clients, self._deliver = room, clients, deliver
        self._beside: Beside | None = None
        self._opening: Opening | None = None
        self._scene: Scene | None = None
        """What the room is to start from."""
        self._picture: Picture | None = None
        self._branch: int | None = None
        """The branch that began with the simulator's own frames, once it has begun."""

    async def switch(self, client: Client, on: bool) -> None:
        """Run the real simulator beside, the room starting from its frames, or end that.

        Raises:
            InvalidInputError: there is no simulator of this world here, or ``client`` does not steer the room.
        """
        if not on:
            client.check = False
            self.unwatched()
        elif self._beside is not None:
            client.check = True
            if self._picture is not None:
                client.show(self._picture)
        else:
            self._room.audience.check_steering(client.number)
            if not has_simulator(self._room.world):
                raise InvalidInputError(
                    "the real simulator of this world is not installed here: see docs/playground.md."
                )
            client.check = True
            await self._start()

    async def _start(self) -> None:
        self._beside = beside = Beside(self._room.world)
        self._deliver([m.notice("The real simulator is starting.")])
        try:
            opening = await asyncio.wrap_future(beside.start(self._room.seed))
        except Exception:
            self.end(None)
            raise
        if self._beside is beside and opening.spec.grid == self._room.spec.grid:
            self._opening, self._scene = opening, opening.scene(self._room.history.context)
            self._room.start_from(self._scene)

    def end(self, why: str | None) -> None:
        """Stop the simulator; those who watch it are told ``why``."""
        if self._beside is None:
            return
        self._beside.close()
        self._beside = self._opening = self._scene = self._picture = self._branch = None
        for client in self._clients.values():
            client.check = False
        if why:
            self._deliver([m.notice(f"The reality check is over: {why}.")])

    def unwatched(self) -> None:
        """Stop the simulator if nobody watches it any more."""
        if not any(client.check for client in self._clients.values()):
            self.end(None)

    def follow(self) -> None:
        """Stop the simulator if the room has left its path for another branch."""
        if self._branch is not None and self._branch != self._room.history.branch:
            self.end(_AWAY)

    def begun(self, job: Begin) -> None:
        """Note from what the room has started; the simulator has a part in it only if that was its own frames."""
        if self._opening is None:
            return
        if job.scene is not self._scene:
            self.end(_AWAY)
            return
        self._branch = self._room.history.branch
        self.show(self._opening.seen[-1], self._opening.actions[-1])

    def step(self, job: Step) -> asyncio.Future[Observation] | None:
        """Start the simulator's step, where one runs beside and the room has not left its path."""
        self.follow()
        if self._beside is None or self._branch is None:
            return None
        try:
            return asyncio.wrap_future(self._beside.step(job.actions))
        except Exception as error:  # noqa: BLE001 (its process is gone, for whatever reason; the room goes on)
            self._failed(error)
            return None

    async def seen(self, step: asyncio.Future[Observation] | None) -> Observation | None:
        """Return what a step of the simulator gave; None where there was none, or it failed."""
        if step is None:
            return None
        try:
            async with asyncio.timeout(SIMULATOR_SECONDS):
                return await step
        except Exception as error:  # noqa: BLE001 (a simulator that fails must not end the room, whatever the reason)
            self._failed(error)
            return None

    def _failed(self, error: Exception) -> None:
        _LOG.warning("room %s: the simulator failed: %s: %s", self._room.name, type(error).__name__, error)
        self.end("the simulator failed")

    def show(self, seen: Observation, actions: Ints) -> None:
        """Show the simulator's frame to those who want it, under the number of the generated one beside it."""
        history = self._room.history
        if self._beside is None or self._branch != history.branch:
            return
        self._picture = Picture(
            *(history.last, history.branch, seen.frame, seen.states, actions, seen.rewards), simulator=True
        )
        for client in self._clients.values():
            if client.check:
                client.show(self._picture)
        if seen.ended:
            self.end("the simulator's episode ended")
