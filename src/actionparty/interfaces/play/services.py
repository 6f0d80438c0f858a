"""What clients may ask for beside playing: files to take away, the palette, looks inside, the simulator beside."""

from __future__ import annotations

import asyncio
import base64
import logging
import multiprocessing
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

from actionparty.config import RolloutConfig
from actionparty.errors import ActionPartyError, InvalidInputError
from actionparty.interfaces.play import messages as m
from actionparty.interfaces.play import replay, scene_files
from actionparty.interfaces.play.clients import Client
from actionparty.interfaces.play.films import Take, film
from actionparty.interfaces.play.live import LiveRoom
from actionparty.interfaces.play.menu import ShippedMenu
from actionparty.interfaces.play.messages import Said
from actionparty.interfaces.play.records import Record
from actionparty.interfaces.play.replay import Origin
from actionparty.types import Scene, WorldSpec

MOST_FILES = 24
MOST_BYTES = 200_000_000
MOST_SAVED = 64
TYPES = {
    "mp4": "video/mp4",
    "gif": "image/gif",
    "replay": "application/octet-stream",
    "npz": "application/octet-stream",
}
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Download:
    """A file that waits to be taken."""

    name: str
    kind: str
    content: bytes


class Services:
    """Makes and keeps what clients take away; one film at a time."""

    def __init__(self, menu: ShippedMenu, settings: RolloutConfig, *, exact: bool) -> None:
        """Replays belong to the weights of their world and to ``settings``; ``exact``: they repeat bit for bit."""
        self._menu, self._settings, self._exact = menu, settings, exact
        self._files: dict[str, Download] = {}
        self._saved: dict[str, Scene] = {}
        self._films: ProcessPoolExecutor | None = None
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[str] = set()

    def close(self) -> None:
        """Drop everything."""
        for task in self._tasks:
            task.cancel()
        if self._films:
            self._films.shutdown(wait=False, cancel_futures=True)

    def take(self, number: str) -> Download | None:
        """Return a file and forget it: its address works once."""
        return self._files.pop(number, None)

    def saved_scene(self, number: str, spec: WorldSpec) -> Scene:
        """Return a scene that was saved here; raise ``InvalidInputError`` where there is none of that world."""
        scene = self._saved.get(number)
        if scene is None or (scene.world.name, scene.world.grid) != (spec.name, spec.grid):
            raise InvalidInputError("this saved scene is gone: the server was started anew. Load the file instead.")
        return scene

    def handle(self, live: LiveRoom, client: Client, message: m.Message) -> bool:
        """Do what ``message`` asks for if it asks for a service; return whether it did.

        Raises:
            ActionPartyError: it can't be done; the message says why.
        """
        match message:
            case m.Switch(type="overlay"):
                client.overlay = message.on
                if message.on:
                    live.refresh_overlay()
            case m.Switch(type="check"):
                self._start(client, live.set_check(client, message.on))
            case m.Plain(type="palette"):
                palette = self._menu.palette(live.room.world)
                png = base64.b64encode(palette.png()).decode()
                client.say(Said("palette", {"png": png, "count": len(palette.scenery)}))
            case m.Plain(type="save_scene"):
                self._start(client, self._save_scene(live, client))
            case m.LoadScene():
                live.load_scene(client, scene_files.read_scene(message.data, live.room.spec, self._menu.context))
            case m.Export():
                self._export(live, client, message)
            case _:
                return False
        return True

    def _start(self, client: Client, work: Awaitable[None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except ActionPartyError as error:
                client.say(m.error("refused", str(error), client.number))
            except Exception as error:  # noqa: BLE001 (one file that fails must not end a game; it is logged)
                _LOG.exception("a service failed")
                client.say(
                    m.error("internal", f"that went wrong on the server ({type(error).__name__}).", client.number)
                )

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _save_scene(self, live: LiveRoom, client: Client) -> None:
        record = live.room.shown
        if record is None:
            raise InvalidInputError("there is no scene yet.")
        scene = live.room.history.scene(record.step)
        content = await asyncio.to_thread(scene_files.scene_bytes, scene)
        number = secrets.token_urlsafe(8)
        self._saved[number] = scene
        while len(self._saved) > MOST_SAVED:
            del self._saved[next(iter(self._saved))]
        self._offer(client, Download(f"{scene.world.name}-step-{record.step}.npz", "npz", content), saved=number)

    def _export(self, live: LiveRoom, client: Client, message: m.Export) -> None:
        room = live.room
        record = room.shown
        if record is None or len(room.history) < 2:
            raise InvalidInputError("nothing was played yet.")
        if room.name in self._busy:
            raise InvalidInputError("an export of this room is being made already.")
        self._busy.add(room.name)
        stem = f"{room.spec.name}-step-{record.step}"
        if message.format == "replay":
            records = room.history.stretch(record.step)
            first = room.history.snapshot(records[0].step)
            origin = Origin(self._menu.fingerprint(room.world), self._settings, self._exact)
            work = lambda: replay.write(first, records, origin)  # noqa: E731
            self._start(client, self._make(live, client, (f"{stem}.replay", "replay"), lambda: asyncio.to_thread(work)))
            return
        everything = room.history.upto(record.step)
        identities = room.history.scene(record.step).identities
        client.say(m.notice("The film is being made; this takes some seconds.", client.number))

        async def make() -> bytes:
            takes = await asyncio.to_thread(_takes, everything)
            async with self._turn:
                future: Future[bytes] = self._pool().submit(film, takes, identities, message.format, room.pace.hz)
                return await asyncio.wrap_future(future)

        self._start(client, self._make(live, client, (f"{stem}.{message.format}", message.format), make))

    async def _make(
        self, live: LiveRoom, client: Client, what: tuple[str, str], make: Callable[[], Awaitable[bytes]]
    ) -> None:
        try:
            self._offer(client, Download(*what, await make()))
        finally:
            self._busy.discard(live.room.name)

    def _offer(self, client: Client, file: Download, saved: str | None = None) -> None:
        number = secrets.token_urlsafe(16)
        self._files[number] = file
        while len(self._files) > MOST_FILES or sum(len(f.content) for f in self._files.values()) > MOST_BYTES:
            del self._files[next(iter(self._files))]
        fields = {"url": f"/api/exports/{number}", "name": file.name}
        client.say(Said("exported", fields if saved is None else {**fields, "saved": saved}, client.number))

    def _pool(self) -> ProcessPoolExecutor:
        if self._films is None:
            self._films = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        return self._films


def _takes(records: list[Record]) -> list[Take]:
    return [Take(r.step, r.spec, r.frame, r.states, r.actions) for r in records]
