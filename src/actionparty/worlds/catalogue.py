"""Worlds by name: what there is, what each is like, and how to make one. Listing needs no simulator."""

from __future__ import annotations

from dataclasses import dataclass

from actionparty.errors import unknown_name
from actionparty.types import World, WorldSpec
from actionparty.vocabulary import MOVES
from actionparty.worlds import meltingpot_sources
from actionparty.worlds.arena import ArenaWorld, arena_spec
from actionparty.worlds.substrates import SUBSTRATES

ARENA = "arena"


@dataclass(frozen=True)
class CatalogueEntry:
    """A world in the catalogue: its spec with the default number of subjects, and whether it can be made here."""

    spec: WorldSpec
    family: str
    """``arena``, ``meltingpot``, or ``own``: of a user, in no catalogue"""
    available: bool
    install: str = ""
    """The command that makes it available, if it isn't."""


def world_names() -> list[str]:
    """Return the names of all worlds, sorted, also of those that still have to be installed."""
    return sorted([ARENA, *SUBSTRATES])


def world_spec(name: str) -> WorldSpec:
    """Return what a world with its default number of subjects is, without making it; raise ``UnknownNameError``."""
    if name == ARENA:
        return arena_spec()
    if name not in SUBSTRATES:
        raise unknown_name("world", name, world_names())
    subjects, height, width, effects = SUBSTRATES[name]
    return WorldSpec(name, subjects, (height, width), (*MOVES, *effects.split()))


def family(name: str) -> str:
    """Return whether a world is the ``arena`` or one of ``meltingpot``; raise ``UnknownNameError``."""
    return ARENA if world_spec(name).name == ARENA else "meltingpot"


def check_available(name: str) -> None:
    """Raise ``UnknownNameError`` or ``MissingDependencyError`` where a world can't be made here; makes nothing."""
    world_spec(name)
    if name != ARENA:
        meltingpot_sources.require()


def entries() -> list[CatalogueEntry]:
    """Return the whole catalogue in the order of ``world_names``."""
    installed = meltingpot_sources.available()
    return [_entry(name, installed) for name in world_names()]


def make_world(name: str, subjects: int | None = None) -> World:
    """Make a world, with its default number of subjects or another.

    Raises:
        UnknownNameError: no such world; the message suggests the nearest names.
        MissingDependencyError: a Melting Pot world without Melting Pot; the message says how to install it.
        InvalidInputError: a number of subjects that no world, or not this one, can have.
    """
    spec = world_spec(name)
    if name == ARENA:
        return ArenaWorld(spec.subjects if subjects is None else subjects)
    from actionparty.worlds.meltingpot import MeltingPotWorld

    return MeltingPotWorld(name, subjects)


def _entry(name: str, installed: bool) -> CatalogueEntry:
    available = installed or name == ARENA
    return CatalogueEntry(world_spec(name), family(name), available, "" if available else meltingpot_sources.INSTALL)
