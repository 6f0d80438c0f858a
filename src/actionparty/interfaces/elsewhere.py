"""What to say where a checkpoint lacks a world: which of the shipped weights have it, or which name was meant."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from actionparty.checkpoints import SHIPPED, find_checkpoint, shipped_names
from actionparty.errors import UnknownNameError, unknown_name
from actionparty.rollout.scenes import best_checkpoints, scene_worlds


def lacking(folder: Path, world: str, known: Iterable[str], instead: str) -> UnknownNameError:
    """Return the error for a ``world`` that is not among the ``known`` ones of the checkpoint in ``folder``.

    ``instead`` is what to write on the command line where other weights have it, ``{}`` standing for their name.
    """
    name = folder.name if folder.parent == SHIPPED else str(folder)
    having = best_checkpoints([find_checkpoint(shipped) for shipped in shipped_names()]).get(world)
    if having is None or having == folder:
        return unknown_name(f"world of the weights {name!r}:", world, known)
    return UnknownNameError(
        f"the weights {name!r} lack the world {world!r}; the shipped weights {having.name!r} have it: "
        f"{instead.format(having.name)}"
    )


def check_scenes(folder: Path, world: str, instead: str) -> None:
    """Raise the error of ``lacking`` where a checkpoint has scenes, but none of ``world``."""
    known = scene_worlds(folder)
    if known and world not in known:
        raise lacking(folder, world, known, instead)
