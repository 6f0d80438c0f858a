"""Scene files of a room: reads those that came from anywhere, and makes those that are taken away. Knows no room."""

from __future__ import annotations

import base64
import binascii
import io
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from actionparty.data.files import NPZ_DAMAGE
from actionparty.errors import InvalidInputError
from actionparty.interfaces.play.sandbox import MOST_SUBJECTS
from actionparty.rollout.scenes import load_scene, save_scene
from actionparty.types import SCENE_ROWS, Scene, WorldSpec

MOST_UNPACKED = 32_000_000
"""Bytes that a scene file may hold once it is unpacked: a small file can claim to be huge."""


def scene_bytes(scene: Scene) -> bytes:
    """Return ``scene`` as a scene file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.npz"
        save_scene(path, scene)
        return path.read_bytes()


def read_scene(data: str, spec: WorldSpec, context: int) -> Scene:
    """Read a scene file (base64) of the world ``spec`` with any number of subjects up to 16.

    Raises:
        InvalidInputError: not base64, not a scene file, too large once unpacked, or of another world.
    """
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError("this scene file did not arrive whole.") from error
    _check_size(content)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.npz"
        path.write_bytes(content)
        try:
            scene = load_scene(path)
        except InvalidInputError as error:
            raise InvalidInputError(str(error).replace(str(path), "this scene file")) from error
    return _checked(scene, spec, context)


def _check_size(content: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except NPZ_DAMAGE as error:
        raise InvalidInputError("this is not a scene file.") from error
    if size > MOST_UNPACKED:
        raise InvalidInputError("this scene file is too large once unpacked.")


def _checked(scene: Scene, spec: WorldSpec, context: int) -> Scene:
    found = scene.world
    if (found.name, found.grid, found.actions) != (spec.name, spec.grid, spec.actions):
        raise InvalidInputError(f"this is a scene of {found.name[:60]!r}; open a room of that world for it.")
    if found.subjects > MOST_SUBJECTS:
        raise InvalidInputError(f"a scene has at most {MOST_SUBJECTS} subjects here.")
    if len(scene.actions) > 4 * SCENE_ROWS or len(scene.frames) > 4 * context:
        raise InvalidInputError("this scene is longer than any model looks back.")
    if np.abs(scene.states.position).max(initial=0) > 255:
        raise InvalidInputError("this scene has a subject far outside the world.")
    cells, alive = scene.states[-1].cells, scene.states.alive[-1]
    if len({tuple(cell) for cell in cells[alive].tolist()}) < int(alive.sum()):
        raise InvalidInputError("two subjects of this scene stand on one cell.")
    return replace(scene, source="a scene file")
