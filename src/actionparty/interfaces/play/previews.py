"""Short generated films of the worlds, for the gallery: each is made once, when somebody looks and nobody plays."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Callable

import numpy as np
from PIL import Image

from actionparty.interfaces.play.engine import Engine
from actionparty.interfaces.play.fair import Owner
from actionparty.interfaces.play.jobs import Menu
from actionparty.interfaces.play.seats import Table
from actionparty.types import Frame, Observation

FRAMES = 16
"""Two seconds at 8 Hz: what one film costs is this many steps of its world, once."""
QUIET_SECONDS = 1.0
"""How often it looks whether somebody still plays."""
MOST_MADE = 64
OWNER = Owner("previews", "previews")
_SEED = 1
_LOG = logging.getLogger(__name__)


class Previews:
    """The films of the worlds in ``menu``; lives in one event loop."""

    def __init__(self, menu: Menu, engine: Engine, playing: Callable[[], bool]) -> None:
        """Generate with ``engine`` while not ``playing``."""
        self._menu, self._engine, self._playing = menu, engine, playing
        self._made: dict[str, bytes | None] = {}
        self._wanted: list[str] = []
        self._task: asyncio.Task[None] | None = None

    def film(self, world: str) -> tuple[bool, bytes | None]:
        """Return whether the film of ``world`` was made, and its frames side by side as a PNG; None where it failed.

        One that was not is wanted from now on. Raises as ``Menu.scene``.
        """
        if world in self._made:
            return True, self._made[world]
        self._menu.scene(world, 0)
        if world not in self._wanted and len(self._made) + len(self._wanted) < MOST_MADE:
            self._wanted.append(world)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return False, None

    def close(self) -> None:
        """Make no more."""
        if self._task:
            self._task.cancel()

    async def _run(self) -> None:
        while self._wanted:
            world = self._wanted[0]
            try:
                frames = await self._frames(world)
                self._made[world] = await asyncio.to_thread(_strip, frames)
            except Exception as error:  # noqa: BLE001 (a film is an extra: the gallery goes on without it)
                _LOG.warning("no film of %s: %s: %s", world, type(error).__name__, error)
                self._made[world] = None
            self._wanted.remove(world)

    async def _frames(self, world: str) -> list[Frame]:
        scene = self._menu.scene(world, 0)
        table, rewards = Table(scene.world, _SEED), np.zeros(scene.world.subjects, np.float32)
        await self._quiet()
        now = await asyncio.wrap_future(self._engine.begin(scene, _SEED, OWNER))
        frames = [now.frame]
        while len(frames) < FRAMES:
            actions = table.choose(Observation(now.frame, now.states, rewards, False))
            await self._quiet()
            done = await asyncio.wrap_future(self._engine.step(now, actions, OWNER))
            now, rewards = done.snapshot, done.rewards
            frames.append(now.frame)
        return frames

    async def _quiet(self) -> None:
        """Wait until nobody plays."""
        while self._playing():
            await asyncio.sleep(QUIET_SECONDS)


def _strip(frames: list[Frame]) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.concatenate(frames, 1)).save(sink, "PNG", optimize=True)
    return sink.getvalue()
