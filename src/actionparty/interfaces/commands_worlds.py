"""The command ``worlds``: what there is, what runs here, and for which of them weights and scenes come along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from actionparty.interfaces import console
from actionparty.interfaces.commands_data import Json

if TYPE_CHECKING:
    from actionparty.worlds.catalogue import CatalogueEntry


def worlds(
    names: Annotated[
        list[str] | None, typer.Argument(help="Only these, with their actions.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """List the worlds, what each is like, and what can be done with it here.

    "Simulator": whether it can be recorded here. "Weights": whether a model
    that generates it comes with the package, and with how many scenes to
    start from; such a world needs no simulator.

    Examples:
      actionparty worlds
      actionparty worlds coins clean_up
      actionparty worlds --json
    """
    from actionparty.worlds.catalogue import entries, world_spec

    wanted = {world_spec(name).name for name in names or ()}
    listed = [entry for entry in entries() if not wanted or entry.spec.name in wanted]
    scenes = shipped_scenes()
    if as_json:
        console.print_json([describe(entry, scenes) for entry in listed])
        return
    columns = ("world", "subjects", "grid h x w", "actions", "simulator", "weights", "scenes")
    console.print_table("", columns, (_row(entry, scenes) for entry in listed))
    for entry in listed if wanted else ():
        console.tell(f"{entry.spec.name}: {', '.join(entry.spec.actions)}")
    for command in sorted({entry.install for entry in listed if entry.install}):
        console.tell(f"To make the others available: {command}")


def describe(entry: CatalogueEntry, scenes: dict[str, int]) -> dict[str, Any]:
    """Return the object that programs read of a world; ``scenes`` as from ``shipped_scenes``."""
    spec = entry.spec
    return {
        "name": spec.name,
        "subjects": spec.subjects,
        "grid": list(spec.grid),
        "actions": list(spec.actions),
        "weights": spec.name in scenes,
        "scenes": scenes.get(spec.name, 0),
        "available": entry.available,
    }


def shipped_scenes() -> dict[str, int]:
    """Return, for each world that a checkpoint in the package was trained on, how many scenes come with it."""
    from actionparty.checkpoints import about, find_checkpoint, shipped_names
    from actionparty.rollout.scenes import scene_paths, scene_worlds

    found: dict[str, int] = {}
    for folder in map(find_checkpoint, shipped_names()):
        with_scenes = scene_worlds(folder)
        for world in about(folder).get("worlds", {}):
            count = len(scene_paths(folder, world)) if world in with_scenes else 0
            found[world] = max(count, found.get(world, 0))
    return found


def _row(entry: CatalogueEntry, scenes: dict[str, int]) -> tuple[object, ...]:
    spec = entry.spec
    size = f"{spec.grid[0]} x {spec.grid[1]}"
    return (
        spec.name,
        spec.subjects,
        size,
        len(spec.actions),
        entry.available,
        spec.name in scenes,
        scenes.get(spec.name),
    )
