"""Scene files: starting points on disk, one compressed .npz each, without pickled objects.

A checkpoint ships scenes of its worlds. This module knows files and arrays, not the network.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actionparty.checkpoints import find_checkpoint, quality, shipped_names
from actionparty.data.files import NPZ_DAMAGE
from actionparty.errors import CheckpointError, InvalidInputError, unknown_name
from actionparty.types import FACINGS, NO_ACTION, Scene, SubjectStates, WorldSpec
from actionparty.worlds.catalogue import world_spec

FORMAT = 1
SCENES = "scenes"
LABELS = "labels"
_FIELDS = ("frames", "position", "facing", "alive", "actions", "identities", "about")
_UNREADABLE = (*NPZ_DAMAGE, TypeError, IndexError)
"""What NumPy and zipfile raise for files that are not what they should be."""


def save_scene(path: Path, scene: Scene) -> None:
    """Write ``scene`` atomically; ``InvalidInputError`` where the disk is full or refuses."""
    about = {
        "format": FORMAT,
        "world": scene.world.name,
        "actions": list(scene.world.actions),
        "grid": list(scene.world.grid),
        "source": scene.source,
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez_compressed(
                file,
                frames=scene.frames,
                position=scene.states.position.astype(np.float32),
                facing=scene.states.facing.astype(np.int8),
                alive=scene.states.alive,
                actions=scene.actions.astype(np.int16),
                identities=scene.identities,
                about=np.frombuffer(json.dumps(about).encode(), np.uint8),
            )
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InvalidInputError(f"{path}: could not be written ({error}). Is the disk full?") from error


def load_scene(path: Path) -> Scene:
    """Read a scene; ``InvalidInputError`` where the file is missing, damaged, of another version or not a scene."""
    try:
        values = _arrays(path)
        about = json.loads(values["about"].tobytes())
        version, name, source = about["format"], str(about["world"]), str(about["source"])
        grid, actions = (int(about["grid"][0]), int(about["grid"][1])), tuple(map(str, about["actions"]))
    except FileNotFoundError as error:
        raise InvalidInputError(f"{path}: no such scene file.") from error
    except _UNREADABLE as error:
        raise InvalidInputError(f"{path}: not a readable scene file ({error}).") from error
    if version != FORMAT:
        raise InvalidInputError(f"{path}: scene format {version!r}, but this version reads {FORMAT}.")
    _check_values(path, values, len(actions))
    spec = WorldSpec(name, len(values["identities"]), grid, actions)
    states = SubjectStates(values["position"], values["facing"].astype(np.int64), values["alive"].astype(np.bool_))
    return Scene(spec, values["frames"], states, values["actions"].astype(np.int64), values["identities"], source)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with path.open("rb") as opened:
        if not zipfile.is_zipfile(opened):
            raise zipfile.BadZipFile("it is no .npz file, or cut off")
        opened.seek(0)
        with np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in _FIELDS}


def _check_values(path: Path, values: Mapping[str, NDArray[Any]], actions: int) -> None:
    """Raise ``InvalidInputError`` for a value that no scene can have."""
    if values["frames"].dtype != np.uint8 or values["identities"].dtype != np.uint8:
        raise InvalidInputError(f"{path}: frames and identities must be uint8.")
    if not np.isfinite(values["position"]).all():
        raise InvalidInputError(f"{path}: a position must be a finite number.")
    if not np.isin(values["facing"], range(len(FACINGS))).all():
        raise InvalidInputError(f"{path}: a facing must be 0 to {len(FACINGS) - 1}.")
    if not np.isin(values["actions"], range(NO_ACTION, actions)).all():
        raise InvalidInputError(f"{path}: an action must be {NO_ACTION} (none) to {actions - 1}.")


def scene_worlds(checkpoint: Path) -> list[str]:
    """Return the worlds of which ``checkpoint`` ships scenes."""
    return sorted(folder.name for folder in (checkpoint / SCENES).glob("*") if any(folder.glob("*.npz")))


def best_checkpoints(folders: Sequence[Path]) -> dict[str, Path]:
    """Return, for every world with scenes in any of ``folders``, the one that does it best as far as was measured."""
    best: dict[str, tuple[float, Path]] = {}
    for folder in folders:
        measured = quality(folder)
        for world in scene_worlds(folder):
            score = float(measured.get(world, {}).get("ma1", 0.0))
            if world not in best or score > best[world][0]:
                best[world] = score, folder
    return {world: folder for world, (_, folder) in sorted(best.items())}


def shipped_checkpoint(world: str) -> str:
    """Return the name of the shipped checkpoint that does ``world`` best.

    Raises:
        UnknownNameError: there is no such world at all.
        CheckpointError: none of the shipped checkpoints knows it.
    """
    best = best_checkpoints([find_checkpoint(name) for name in shipped_names()])
    if world in best:
        return best[world].name
    world_spec(world)
    raise CheckpointError(f"no weights for {world} come with the package: train some and give them as checkpoint.")


def scene_paths(checkpoint: Path, world: str) -> list[Path]:
    """Return the scene files of ``world`` beside a checkpoint, in order.

    Raises:
        UnknownNameError: the checkpoint has no scenes of that world; the nearest names are suggested.
        InvalidInputError: it has no scenes at all.
    """
    paths = sorted((checkpoint / SCENES / world).glob("*.npz"))
    if not paths and not scene_worlds(checkpoint):
        raise InvalidInputError(
            f"{checkpoint}: no scenes come with this checkpoint; start from a scene file, or from recordings "
            "(rollout: --data), or give it scenes with `actionparty export`."
        )
    if not paths:
        raise unknown_name("world with scenes in this checkpoint", world, scene_worlds(checkpoint))
    return paths


def find_scene(checkpoint: Path, world: str, name: str) -> Path:
    """Return the file of scene ``name`` of a world: its stem, its number, or a path to a scene file."""
    path = Path(name)
    if path.suffix == ".npz":
        return path
    paths = scene_paths(checkpoint, world)
    if name.isdigit() and int(name) < len(paths):
        return paths[int(name)]
    for known in paths:
        if known.stem == name:
            return known
    raise unknown_name(f"scene of {world}", name, [p.stem for p in paths])
