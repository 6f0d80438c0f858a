"""The desk: answers agents over the playground's WebSocket, which otherwise carries pictures for a page."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

from actionparty.errors import ActionPartyError, DatasetError, InvalidInputError
from actionparty.evaluation.labels import TileLabels
from actionparty.interfaces.agents.eyes import Eyes, RefusedError
from actionparty.interfaces.agents.legend import Legend
from actionparty.interfaces.play import messages as m
from actionparty.interfaces.play.clients import Client
from actionparty.interfaces.play.live import LiveRoom
from actionparty.interfaces.play.menu import ShippedMenu
from actionparty.interfaces.play.messages import Said
from actionparty.rollout.scenes import LABELS

_LOG = logging.getLogger(__name__)


class Legends:
    """The legend of each world, made when somebody first looks at it."""

    def __init__(self, menu: ShippedMenu) -> None:
        self._menu = menu
        self._made: dict[str, Legend] = {}

    def of(self, world: str) -> Legend:
        """Return the legend of a world: from its labelled tiles, else from what its first scene shows."""
        if world not in self._made:
            try:
                made = Legend.of_labels(TileLabels.load(self._menu.homes[world] / LABELS / f"{world}.npz"))
            except DatasetError:
                made = Legend.of_frames(list(self._menu.scene(world, 0).frames))
            self._made[world] = made
        return self._made[world]


class Desk:
    """Serves what agents ask for over their connections."""

    def __init__(self, menu: ShippedMenu) -> None:
        self.legends = Legends(menu)
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Leave what is under way."""
        for task in self._tasks:
            task.cancel()

    def greet(self, live: LiveRoom, client: Client, hello: m.Hello) -> None:
        """Give an agent eyes; to be called before it joins."""
        client.frames = hello.frames
        if hello.agent:
            Eyes(live, client)

    def handle(self, client: Client, message: m.Message) -> bool:
        """Do what ``message`` asks for if it is an agent's; return whether it is.

        Raises:
            InvalidInputError: who asks did not say that it is an agent.
        """
        if not isinstance(message, m.Plan | m.Observe):
            return False
        eyes = client.watcher
        if not isinstance(eyes, Eyes):
            raise InvalidInputError('say hello with "agent": true to be told of the world as text.')
        self._start(client, self._answer(eyes, client, message))
        return True

    async def _answer(self, eyes: Eyes, client: Client, message: m.Plan | m.Observe) -> None:
        played = await eyes.play(message.actions) if isinstance(message, m.Plan) else None
        sight = await eyes.look(self.legends.of(eyes.live.room.world))
        client.say(Said("observation", {"played": played, **sight.to_json(image=message.image)}, client.number))

    def _start(self, client: Client, work: Coroutine[None, None, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except RefusedError:
                pass  # the room has told the client
            except ActionPartyError as error:
                client.say(m.error("refused", str(error), client.number))
            except Exception as error:  # noqa: BLE001 (one answer that fails must not end a game; it is logged)
                _LOG.exception("an observation failed")
                reason = f"that went wrong on the server ({type(error).__name__})."
                client.say(m.error("internal", reason, client.number))

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
