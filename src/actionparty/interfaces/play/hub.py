"""The hub: all rooms of a server, and how each connection is served. Knows WebSockets, no other HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from actionparty.errors import ActionPartyError, InvalidInputError
from actionparty.interfaces.agents.desk import Desk
from actionparty.interfaces.play import messages as m
from actionparty.interfaces.play.clients import Client
from actionparty.interfaces.play.engine import Engine
from actionparty.interfaces.play.limits import AGENTS, PATIENCE, Bucket, Limits, household
from actionparty.interfaces.play.live import LiveRoom
from actionparty.interfaces.play.menu import ShippedMenu
from actionparty.interfaces.play.messages import Said
from actionparty.interfaces.play.previews import Previews
from actionparty.interfaces.play.room import Room
from actionparty.interfaces.play.services import Services

EMPTY_SECONDS = 600.0
"""How long a room without anybody stays."""
HELLO_SECONDS = 10.0
ARRIVAL_SECONDS = 10.0
"""How long a new room waits for whoever opened it before it may make place for another one."""
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_TOO_BIG, _POLICY, _TRY_LATER = 1009, 1008, 1013
_LOG = logging.getLogger(__name__)


class Hub:
    """The rooms of a server; lives in one event loop."""

    def __init__(
        self,
        menu: ShippedMenu,
        engine: Engine,
        services: Services,
        clock: Callable[[], float] = time.monotonic,
        limits: Limits | None = None,
    ) -> None:
        self.menu, self.engine, self.services, self.clock = menu, engine, services, clock
        self.limits = limits or Limits()
        self.desk = Desk(menu)
        self.previews = Previews(menu, engine, self._playing)
        self.rooms: dict[str, LiveRoom] = {}
        self._numbers = count(1)
        self._people: Counter[str] = Counter()

    async def open(self, wanted: m.NewRoom, opener: str = AGENTS) -> str:
        """Open a room for ``opener`` (as ``household`` names an address) and return its name.

        Raises:
            ActionPartyError: no such world here, which the message says as ``ShippedMenu.scene`` does.
            InvalidInputError: no such scene, or no more rooms fit, or no more of that opener.
        """
        self.menu.scene(wanted.world, wanted.scene)  # before anybody's room makes place
        await self._make_place(opener)
        name = "".join(secrets.choice(_LETTERS) for _ in range(8))
        seed = secrets.randbelow(2**31) if wanted.seed is None else wanted.seed
        room = Room(name, self.menu, (wanted.world, wanted.scene, seed))
        if wanted.saved is not None:
            room.start_from(self.services.saved_scene(wanted.saved, room.spec))
        self.rooms[name] = LiveRoom(room, self.engine, self.clock, opener)
        return name

    async def _make_place(self, opener: str) -> None:
        """Close empty rooms: those of long ago, and where ``opener`` or the server has too many the oldest one."""
        now, limits = self.clock(), self.limits
        for live in self._empty(None):
            if now - live.empty_since > EMPTY_SECONDS:
                await self._forget(live)
        if self._opened(opener) >= limits.rooms_each:
            for live in self._empty(opener)[:1]:
                await self._forget(live)
        if self._opened(opener) >= limits.rooms_each:
            whose = "agents" if opener == AGENTS else "your address"
            raise InvalidInputError(f"{limits.rooms_each} rooms of {whose} are open, more are not allowed: join one.")
        if len(self.rooms) >= limits.rooms:
            for live in self._empty(None)[:1]:
                await self._forget(live)
        if len(self.rooms) >= limits.rooms:
            raise InvalidInputError(f"{limits.rooms} rooms are open, more don't fit: join one of them.")

    def _opened(self, opener: str) -> int:
        return sum(live.owner.opener == opener for live in self.rooms.values())

    def _empty(self, opener: str | None) -> list[LiveRoom]:
        """Return the empty rooms, of ``opener`` alone where given; the longest empty first, without those just made."""
        now = self.clock()
        empty = [
            live
            for live in self.rooms.values()
            if not live.clients
            and (live.visited or now - live.empty_since > ARRIVAL_SECONDS)
            and opener in (None, live.owner.opener)
        ]
        return sorted(empty, key=lambda live: live.empty_since)

    async def _forget(self, live: LiveRoom) -> None:
        await self.drop(live.room.name, "nobody was here for a while")

    async def drop(self, name: str, reason: str) -> None:
        """Close a room."""
        if live := self.rooms.pop(name, None):
            await live.close(reason)

    def new_number(self) -> int:
        """Return a number that no client had before."""
        return next(self._numbers)

    async def close(self) -> None:
        """Close all rooms."""
        self.desk.close()
        self.previews.close()
        for name in list(self.rooms):
            await self.drop(name, "the server is shutting down")

    def listing(self) -> list[dict[str, Any]]:
        """Return the open rooms."""
        return [
            {
                "room": name,
                "world": live.room.world,
                "people": len(live.clients),
                "seats_free": sum(seat.kind != "human" for seat in live.room.table.seats),
            }
            for name, live in self.rooms.items()
        ]

    async def serve(self, socket: WebSocket, name: str) -> None:
        """Serve an accepted connection to the room ``name`` until it ends."""
        live, address = self.rooms.get(name), household(socket.client.host if socket.client else None)
        if live is None:
            await _refuse(socket, "no_room", "there is no such room (any more)")
            return
        if full := self._full(address):
            await _refuse(socket, "full", full)
            return
        self._people[address] += 1
        client = Client(self.new_number())
        tasks = (
            asyncio.create_task(_write(socket, client)),
            asyncio.create_task(_Reader(self, live, client, socket).run()),
        )
        for task in tasks:
            task.add_done_callback(_report)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._people[address] -= 1
            self._people += Counter()  # forgets those of whom nobody is left
            live.leave(client)
            for task in tasks:
                task.cancel()
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await socket.close(_POLICY if client.closed else 1000, (client.closed or "")[:120])

    def _playing(self) -> bool:
        return any(live.clients and not live.room.paused for live in self.rooms.values())

    def _full(self, address: str) -> str | None:
        """Return why nobody else from ``address`` may come, None where they may."""
        if self._people[address] >= self.limits.people_each:
            return f"{self.limits.people_each} connections from your address are open: close some of those pages"
        return "this server is full" if self._people.total() >= self.limits.people else None


def _report(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, WebSocketDisconnect | RuntimeError):
        _LOG.error("a connection ended with %s: %s", type(error).__name__, error, exc_info=error)


async def _refuse(socket: WebSocket, code: str, reason: str) -> None:
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.send_json({"type": "error", "code": code, "message": reason})
        await socket.send_json({"type": "closed", "reason": reason})
        await socket.close(_TRY_LATER, reason)


async def _write(socket: WebSocket, client: Client) -> None:
    """Send what waits, one message at a time; a slow connection only ever waits for itself."""
    while True:
        await client.waiting.wait()
        client.waiting.clear()
        while len(client.outbox):
            message = client.outbox.pop()
            if isinstance(message, str):
                await socket.send_text(message)
            else:
                await socket.send_bytes(message)
        if client.closed is not None:
            return


class _Reader:
    """Reads what one client says, within its limits."""

    def __init__(self, hub: Hub, live: LiveRoom, client: Client, socket: WebSocket) -> None:
        self._hub, self._live, self._client, self._socket = hub, live, client, socket
        self._bucket = Bucket(hub.clock())
        self._told_rate = float("-inf")
        self._greeted = False

    async def run(self) -> None:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                while not self._greeted:
                    await self._next()
        except TimeoutError:
            self._client.close("no hello came")
        while self._client.closed is None:
            await self._next()

    async def _next(self) -> None:
        event = await self._socket.receive()
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code") or 1005)
        if not self._bucket.take(self._hub.clock()):
            self._too_often()
            return
        text = event.get("text")
        if text is None:
            self._refuse("invalid", "only text messages are understood.")
            return
        try:
            message = m.parse(text)
        except ActionPartyError as error:
            self._refuse("invalid", str(error))
            return
        await self._do(message)

    async def _do(self, message: m.Message) -> None:
        try:
            if isinstance(message, m.Hello):
                self._greet(message)
            elif not self._greeted:
                self._refuse("hello", "say hello first.")
            elif isinstance(message, m.Ping):
                self._client.say(Said("pong", {"t": message.t, "server_ms": round(self._hub.clock() * 1000, 1)}))
            elif not self._serve(message):
                self._live.handle(self._client, message)
        except ActionPartyError as error:
            self._refuse("refused", str(error))
        except Exception as error:  # noqa: BLE001 (a bug in one answer must not end anybody's game; it is logged)
            _LOG.exception("room %s: message %s failed", self._live.room.name, message.type)
            self._refuse("internal", f"that went wrong on the server ({type(error).__name__}).")

    def _serve(self, message: m.Message) -> bool:
        """Do what is not the room's to do; return whether it was such a thing."""
        hub, client = self._hub, self._client
        return hub.desk.handle(client, message) or hub.services.handle(self._live, client, message)

    def _greet(self, message: m.Hello) -> None:
        if self._greeted:
            self._refuse("hello", "you have said hello already.")
            return
        self._greeted = True
        self._hub.desk.greet(self._live, self._client, message)
        try:
            self._live.join(self._client, message)
        except InvalidInputError as error:
            self._refuse("full", str(error))
            self._client.close(str(error))

    def _too_often(self) -> None:
        now = self._hub.clock()
        if now - self._told_rate > 1:
            self._told_rate = now
            self._refuse("rate", "too many messages: some were dropped.")
        if self._bucket.refused > PATIENCE:
            self._client.close("too many messages")

    def _refuse(self, code: str, message: str) -> None:
        self._client.say(m.error(code, message, self._client.number))
