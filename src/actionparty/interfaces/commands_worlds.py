"""The command ``worlds``: what there is, what runs here, and for which of them weights and scenes come along."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actionparty.checkpoints import EXPERIMENTAL_BELOW, is_experimental
from actionparty.errors import InvalidInputError
from actionparty.interfaces import console
from actionparty.interfaces.commands_data import Env, Json
from actionparty.interfaces.commands_record import world_factory

if TYPE_CHECKING:
    from actionparty.worlds.catalogue import CatalogueEntry


def worlds(
    names: Annotated[
        list[str] | None, typer.Argument(help="Only these, with their actions.", show_default=False)
    ] = None,
    env: Env = None,
    as_json: Json = False,
) -> None:
    """List the worlds, what each is like, and what can be done with it here.

    "Simulator": whether it can be recorded here. "Weights": whether a model
    that generates it comes with the package, and with how many scenes to
    start from; such a world needs no simulator. "MA@1": how well its subjects
    obey in one step, as far as was measured; * marks experimental worlds.
    With --env the world that your function makes, after a step of it.

    Examples:
      actionparty worlds
      actionparty worlds coins clean_up
      actionparty worlds --env my_world:make_world
      actionparty worlds --json
    """
    from actionparty.worlds.catalogue import CatalogueEntry, entries, world_spec

    if env is not None and names:
        raise InvalidInputError("name worlds, or give --env MODULE:FUNCTION (one of the two).")
    known = entries() if env is None else [CatalogueEntry(world_factory(env).tried(), "own", True)]
    wanted = {world_spec(name).name for name in names or ()} if env is None else {known[0].spec.name}
    listed = [entry for entry in known if not wanted or entry.spec.name in wanted]
    shipped = shipped_worlds()
    if as_json:
        own = {} if env is None else {"env": env}
        console.print_json([{**describe(entry, shipped.get(entry.spec.name)), **own} for entry in listed])
        return
    columns = ("world", "subjects", "grid h x w", "actions", "simulator", "weights", "scenes", "MA@1")
    console.print_table("", columns, (_row(entry, shipped.get(entry.spec.name)) for entry in listed))
    if any(entry.spec.name in shipped and shipped[entry.spec.name].experimental for entry in listed):
        console.tell(f"* experimental: MA@1, how well subjects obey in one step, is below {EXPERIMENTAL_BELOW}")
    if env is not None:
        _tell_own(env, listed[0].spec.name)
    for entry in listed if wanted else ():
        console.tell(f"actions of {entry.spec.name}: {', '.join(entry.spec.actions)}")
    for command in sorted({entry.install for entry in listed if entry.install}):
        console.tell(f"To make the others available: {command}")


def _tell_own(env: str, name: str) -> None:
    """Say which function made the world in the list, and what to do with it."""
    console.tell(f"{name} is the world that {env} makes; it was made here, and a step of it played.")
    console.tell(f"No weights know it yet; record it, then train: actionparty record --env {env} --out datasets/{name}")


@dataclass(frozen=True)
class Shipped:
    """What comes with the package for a world."""

    scenes: int
    ma1: float | None
    """Measured movement accuracy after one step, where it is known."""
    experimental: bool


def describe(entry: CatalogueEntry, shipped: Shipped | None) -> dict[str, Any]:
    """Return the object that programs read of a world."""
    spec = entry.spec
    return {
        "name": spec.name,
        "subjects": spec.subjects,
        "grid": list(spec.grid),
        "actions": list(spec.actions),
        "weights": shipped is not None,
        "scenes": 0 if shipped is None else shipped.scenes,
        "available": entry.available,
        "experimental": shipped is not None and shipped.experimental,
    }


def shipped_worlds() -> dict[str, Shipped]:
    """Return what there is of each world that a checkpoint in the package was trained on, by the best one."""
    from actionparty.checkpoints import about, find_checkpoint, quality, shipped_names
    from actionparty.rollout.scenes import best_checkpoints, scene_paths

    found: dict[str, Shipped] = {}
    folders = [find_checkpoint(name) for name in shipped_names()]
    best = best_checkpoints(folders)
    for folder in folders:
        measured = quality(folder)
        for world in about(folder).get("worlds", {}):
            if best.get(world, folder) == folder:
                count, known = len(scene_paths(folder, world)) if world in best else 0, measured.get(world)
                found[world] = Shipped(count, (known or {}).get("ma1"), is_experimental(known))
    return found


def _row(entry: CatalogueEntry, shipped: Shipped | None) -> tuple[object, ...]:
    spec = entry.spec
    size = f"{spec.grid[0]} x {spec.grid[1]}"
    about = (spec.name, spec.subjects, size, len(spec.actions), entry.available, shipped is not None)
    return (*about, *((None, None) if shipped is None else (shipped.scenes, _accuracy(shipped))))


def _accuracy(shipped: Shipped) -> str | None:
    if shipped.ma1 is None:
        return None
    below = floor(1000 * shipped.ma1) / 1000  # rounded it might not look below the limit
    return f"{below:.3f} *" if shipped.experimental else f"{shipped.ma1:.3f}"
