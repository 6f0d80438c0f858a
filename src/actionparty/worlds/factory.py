"""Worlds of users: made by a function that is named ``module:function``, here and in every worker process."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from actionparty.errors import ActionPartyError, InvalidInputError, unknown_name
from actionparty.types import CELL, World, WorldSpec
from actionparty.worlds.catalogue import world_names

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class WorldFactory:
    """Makes the world of a user; it can be sent to other processes, which import the function themselves.

    ``path`` is ``module:function``. The function takes nothing, or ``subjects=N`` where another number is asked for.
    """

    path: str
    folder: str
    """Where the module is looked for before the installed ones"""

    def __call__(self, name: str, subjects: int | None) -> World:
        """Make the world, as recorders do, which expect it to be called ``name``.

        Raises:
            InvalidInputError: the function can't be imported, fails, or makes something else.
        """
        world = self.make(subjects)
        if world.spec.name != name:
            raise InvalidInputError(
                f"{self.path} made {world.spec.name} now and {name} before; a world keeps its name."
            )
        return world

    def make(self, subjects: int | None = None) -> World:
        """Make the world, whatever it is called; errors as above."""
        function = self._function()
        world = self._guarded(lambda: function() if subjects is None else function(subjects=subjects), "failed")
        if not isinstance(world, World):
            raise InvalidInputError(
                f"{self.path} made a {type(world).__name__}, which is no World (spec, reset, step, close); put a "
                "PettingZoo environment into actionparty.worlds.pettingzoo.PettingZooWorld."
            )
        return world

    def tried(self, subjects: int | None = None) -> WorldSpec:
        """Make the world, play a step of it, and return what it is.

        Raises:
            InvalidInputError: as above, or its name or frame is none that a world can have.
        """
        world = self.make(subjects)
        try:
            self._guarded(lambda: _try(world), "made a world that failed in its first step")
        finally:
            world.close()
        return world.spec

    def _function(self) -> Callable[..., Any]:
        module_name, _, name = self.path.partition(":")
        if not module_name or not name.isidentifier():
            raise InvalidInputError(f"{self.path!r} names no function; give module:function, e.g. my_world:make_world.")
        if self.folder not in sys.path:
            sys.path.insert(0, self.folder)
        module = self._guarded(lambda: importlib.import_module(module_name), f"can't be imported from {self.folder}")
        if not callable(getattr(module, name, None)):
            known = [each for each in vars(module) if callable(getattr(module, each)) and not each.startswith("_")]
            raise unknown_name(f"function in {module_name}", name, known)
        function: Callable[..., Any] = getattr(module, name)
        return function

    def _guarded(self, call: Callable[[], Any], what: str) -> Any:
        """Return what ``call`` does; what the user's code raises becomes an error that names it."""
        try:
            return call()
        except ActionPartyError:
            raise
        except Exception as error:  # code of users may raise anything
            raise InvalidInputError(f"{self.path} {what}: {type(error).__name__}: {error}") from error


def _try(world: World) -> None:
    spec = world.spec
    if not _NAME.fullmatch(spec.name):
        raise InvalidInputError(
            f"{spec.name!r} is no name for a world: letters, digits, _ . - and at most 100 of them."
        )
    if spec.name in world_names():
        raise InvalidInputError(f"{spec.name} is the name of a world that comes with ActionParty; choose another.")
    frame = world.reset(seed=0).frame
    if frame.shape != (spec.grid[0] * CELL, spec.grid[1] * CELL, 3):
        raise InvalidInputError(f"{spec.name}: a frame of shape {frame.shape} for {spec.grid} cells of {CELL} pixels.")
    world.step(np.zeros(spec.subjects, np.int64))
