"""The command ``worlds``: what there is, what runs here, and for which of them weights and scenes come along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actionparty.checkpoints import EXPERIMENTAL_BELOW, is_experimental
from actionparty.errors import InvalidInputError
from actionparty.interfaces import console
from actionparty.interfaces.commands_data import Env, Json, world_factory

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
    start from; such a world needs no simulator.

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
        console.print_json([describe(entry, shipped.get(entry.spec.name)) for entry in listed])
        return
    columns = ("world", "subjects", "grid h x w", "actions", "simulator", "weights", "scenes", "MA@1")
    console.print_table("", columns, (_row(entry, shipped.get(entry.spec.name)) for entry in listed))
    if any(found.experimental for found in shipped.values()):
        console.tell(f"* experimental: MA@1, how well subjects obey in one step, is below {EXPERIMENTAL_BELOW}")
    for entry in listed if wanted else ():
        console.tell(f"{entry.spec.name}: {', '.join(entry.spec.actions)}")
    for command in sorted({entry.install for entry in listed if entry.install}):
        console.tell(f"To make the others available: {command}")


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
    return None if shipped.ma1 is None else f"{shipped.ma1:.3f}{' *' if shipped.experimental else ''}"
