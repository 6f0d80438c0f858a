"""A live room: drives a room by the clock, gives its work to the engine, and delivers what it says and shows.

It runs in one event loop and never waits for the model or for a client.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from actionparty.interfaces.play import messages as m
from actionparty.interfaces.play.clients import Client
from actionparty.interfaces.play.engine import Engine
from actionparty.interfaces.play.fair import Owner
from actionparty.interfaces.play.jobs import Begin, Job
from actionparty.interfaces.play.messages import Said
from actionparty.interfaces.play.reality import Reality
from actionparty.interfaces.play.room import Room
from actionparty.interfaces.play.see import Seen, look
from actionparty.interfaces.play.wire import Picture
from actionparty.rollout.snapshot import Snapshot, Stepped
from actionparty.types import Observation, Scene

STATUS_SECONDS = 1.0
OVERLAY_SECONDS = 0.25
STILL_SECONDS = 1.0
"""How often there is a new still, however many ask."""
_LOG = logging.getLogger(__name__)


class LiveRoom:
    """A room with its clients, driven by one task."""

    def __init__(
        self, room: Room, engine: Engine, clock: Callable[[], float] = time.monotonic, opener: str = ""
    ) -> None:
        """Drive ``room``; ``opener`` is who pays for it with turns of the engine."""
        self.room, self.engine, self.clock = room, engine, clock
        self.owner = Owner(opener, room.name)
        self.visited = False
        """Whether anybody was here yet."""
        self.clients: dict[int, Client] = {}
        self.empty_since = clock()
        self.ticks = 0
        self._serial = -1
        self._picture: Picture | None = None
        self._still: Picture | None = None
        self._still_at = float("-inf")
        self._wake = asyncio.Event()
        self._jobs: set[asyncio.Task[None]] = set()
        self.reality = Reality(room, self.clients, self.deliver)
        self._looking = False
        self._looked = self._told = float("-inf")
        self._task = asyncio.create_task(self._run())

    async def close(self, reason: str) -> None:
        """End the room; everybody in it is told why."""
        for client in self.clients.values():
            client.say(Said("closed", {"reason": reason}))
            client.close(reason)
        self.reality.end(None)
        for task in (self._task, *self._jobs):
            task.cancel()
        await asyncio.gather(self._task, *self._jobs, return_exceptions=True)

    def join(self, client: Client, hello: m.Hello) -> None:
        """Let a client in; raises what ``Room.join`` does."""
        said = self.room.join(client.number, hello.name, hello.token, self.clock())
        self.room.audience.members[client.number].agent = hello.agent
        self.clients[client.number] = client
        self.visited = True
        self.deliver(said)
        if self._picture is not None:
            client.show(self._picture)
        self._wake.set()

    def leave(self, client: Client) -> None:
        """Note that a client is gone."""
        if self.clients.pop(client.number, None) is None:
            return
        self.deliver(self.room.leave(client.number, self.clock()))
        if not self.clients:
            self.empty_since = self.clock()
        self.reality.unwatched()
        self._wake.set()

    def handle(self, client: Client, message: m.Message) -> None:
        """Pass a message to the room."""
        self.deliver(self.room.handle(client.number, message, self.clock()))
        self.reality.follow()
        self.publish()
        self._wake.set()

    def load_scene(self, client: Client, scene: Scene) -> None:
        """Start from a scene that a client brought; raises as ``Room.load``."""
        self.room.load(client.number, scene)
        self._wake.set()

    async def set_check(self, client: Client, on: bool) -> None:
        """Run the real simulator beside, or end that; raises as ``Reality.switch``."""
        await self.reality.switch(client, on)
        self._wake.set()

    def deliver(self, said: Iterable[Said]) -> None:
        """Queue texts for whom they are meant."""
        for each in said:
            for number, client in self.clients.items():
                if each.to in (None, number):
                    if each.type == "welcome":
                        client.outbox.restart()
                        self._serial = -1
                    client.say(each)

    def publish(self) -> None:
        """Show everybody what the room shows, if that is news."""
        record = self.room.shown
        if record is None or self._serial == self.room.timeline.serial:
            return
        self._serial = self.room.timeline.serial
        history, live = self.room.history, self.room.timeline.live
        frame = live.frame if live is not None and record.step == history.last else record.frame
        self._picture = Picture(record.step, history.branch, frame, record.states, record.actions, record.rewards)
        for client in self.clients.values():
            client.show(self._picture)
        self._look()

    def still(self) -> bytes | None:
        """Return what is shown as a PNG, at most a second old; None before there is anything."""
        if self.clock() - self._still_at >= STILL_SECONDS and self._picture is not None:
            self._still, self._still_at = self._picture, self.clock()
        return None if self._still is None else self._still.png

    async def _run(self) -> None:
        while True:
            now = self.clock()
            self._wake.clear()
            self.deliver(self.room.tend(now))
            self.room.pace.held = self.engine.behind
            while job := self.room.next_job(now):
                task = asyncio.create_task(self._do(job))
                self._jobs.add(task)
                task.add_done_callback(self._jobs.discard)
            if self.clients and not self.room.paused and now - self._told >= STATUS_SECONDS:
                self._told = now
                self.deliver([self.room.status()])
            due = self.room.next_time(now)
            with contextlib.suppress(TimeoutError):  # asyncio.wait_for of Python 3.11 can swallow what ends this task
                async with asyncio.timeout(None if due is None else max(0.0, due - self.clock())):
                    await self._wake.wait()

    async def _do(self, job: Job) -> None:
        seen: Observation | None = None
        try:
            if isinstance(job, Begin):
                begun = self.engine.begin(job.scene, job.seed, self.owner)
                result: Snapshot | Stepped = await asyncio.wrap_future(begun)
            else:
                real = self.reality.step(job)
                result = await asyncio.wrap_future(self.engine.step(job.snapshot, job.actions, self.owner))
                seen = await self.reality.seen(real)
        except Exception as error:  # noqa: BLE001 (a model that fails must not end the room, whatever the reason)
            _LOG.warning("room %s: a step failed: %s: %s", self.room.name, type(error).__name__, error)
            self.reality.end("a step failed")
            said = self.room.failed(job, error, self.clock())
        else:
            said = self.room.done(job, result, self.clock())
            self.ticks += 1
        self.deliver(said)
        self.publish()
        if isinstance(job, Begin):
            self.reality.begun(job)
        elif seen is not None:
            self.reality.show(seen, job.actions)
        self._wake.set()

    # Looking inside

    def _look(self) -> None:
        """Start to compute the overlay of what is shown, where somebody wants it and none is being computed."""
        now = self.clock()
        wanted = any(client.overlay for client in self.clients.values())
        if not wanted or self._looking or now - self._looked < OVERLAY_SECONDS:
            return
        self._looking, self._looked = True, now
        task = asyncio.create_task(self._overlay())
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    def refresh_overlay(self) -> None:
        """Compute the overlay of what is shown now."""
        self._looked = float("-inf")
        self._look()

    async def _overlay(self) -> None:
        record = self.room.shown
        try:
            if record is None:
                return
            snapshot, actions = self.room.history.snapshot(record.step), self.room.table.expected()
            if len(actions) != snapshot.spec.subjects:
                return
            network, settings = self.engine.network(snapshot.spec.name), self.engine.settings
            work = self.engine.submit(lambda: look(network, settings, snapshot, actions), self.owner)
            self._show_overlay(record.step, await asyncio.wrap_future(work))
        except Exception as error:  # noqa: BLE001 (the overlay is an extra: the room goes on without it)
            _LOG.warning("room %s: no overlay: %s: %s", self.room.name, type(error).__name__, error)
        finally:
            self._looking = False

    def _show_overlay(self, step: int, seen: list[Seen]) -> None:
        said = Said("overlay", {"step": step, "subjects": [each.to_json() for each in seen]})
        for number, client in self.clients.items():
            if client.overlay:
                client.say(replace(said, to=number))
