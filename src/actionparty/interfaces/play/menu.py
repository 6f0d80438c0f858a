"""What can be played: the worlds, scenes and tiles that come with checkpoints. Read once, looked up by name only."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from actionparty.checkpoints import CONFIG, fingerprint, is_experimental, quality, read_json
from actionparty.config import ModelConfig, from_json
from actionparty.errors import (
    ActionPartyError,
    CheckpointError,
    DatasetError,
    InvalidInputError,
    UnknownNameError,
    unknown_name,
)
from actionparty.evaluation.labels import TileLabels
from actionparty.interfaces.elsewhere import lacking
from actionparty.interfaces.play.check import has_simulator
from actionparty.interfaces.play.jobs import card
from actionparty.interfaces.play.sandbox import Palette
from actionparty.rollout.scenes import LABELS, best_checkpoints, load_scene, scene_paths, shipped_checkpoint
from actionparty.types import CELL, Scene
from actionparty.worlds.catalogue import world_names

_NICE = {
    "coins": "Coins",
    "commons_harvest__open": "Commons Harvest",
    "clean_up": "Clean Up",
}
_FILLERS = ("in", "the", "of", "with", "and", "or")


class ShippedMenu:
    """The worlds of one checkpoint, or of several: each from that which does it best."""

    def __init__(self, *folders: Path, only: list[str] | None = None) -> None:
        """Read which scenes there are.

        Raises:
            InvalidInputError: no checkpoint has scenes, or they differ in the number of frames that they see.
            UnknownNameError, CheckpointError: none has scenes of a world in ``only``; as ``scene``.
        """
        best = best_checkpoints(folders)
        if not best:
            raise InvalidInputError(f"{folders[0]}: no scenes come with this checkpoint, so there is nothing to play.")
        self._folders, self._there = folders, tuple(best)
        for name in only or ():
            if name not in best:
                raise self._not_played(name)
        self.homes = {name: best[name] for name in only or best}
        """The checkpoint folder of each world"""
        homes = list(dict.fromkeys(self.homes.values()))
        self.context = _context(homes)
        """Frames that the models see"""
        self._paths = {name: scene_paths(folder, name) for name, folder in self.homes.items()}
        self._quality = {folder: quality(folder) for folder in homes}
        self._fingerprints: dict[Path, str] = {}
        self._scenes: dict[tuple[str, int], Scene] = {}
        self._palettes: dict[str, Palette] = {}
        self._simulators: dict[str, bool] = {}
        self._thumbnails: dict[tuple[str, int], bytes] = {}

    @property
    def worlds(self) -> list[str]:
        """Their names."""
        return list(self._paths)

    def fingerprint(self, world: str) -> str:
        """Return the SHA-256 of the weights that generate ``world``."""
        folder = self.homes[world]
        if folder not in self._fingerprints:
            self._fingerprints[folder] = fingerprint(folder)
        return self._fingerprints[folder]

    def scene(self, world: str, index: int) -> Scene:
        """Return a scene.

        Raises:
            UnknownNameError: no such world is played here; the nearest names are suggested, or weights that have it.
            CheckpointError: no shipped weights have it.
            InvalidInputError: it has no such scene.
        """
        if world not in self._paths:
            raise self._not_played(world)
        paths = self._paths[world]
        if not 0 <= index < len(paths):
            raise InvalidInputError(f"{world} has scenes 0 to {len(paths) - 1}, not {index}.")
        if (world, index) not in self._scenes:
            self._scenes[world, index] = load_scene(paths[index])
        return self._scenes[world, index]

    def _not_played(self, world: str) -> ActionPartyError:
        if world in self._there:
            return UnknownNameError(f"this server was started for {', '.join(self.homes)} only, not for {world}.")
        if world not in world_names():
            return unknown_name("world with weights here", world, self._there)
        if told := _without_weights(world):
            return CheckpointError(told)
        return UnknownNameError(_lacked(self._folders[0], world))

    def title(self, world: str) -> str:
        """Return what people call a world."""
        if world in _NICE:
            return _NICE[world]
        main, _, variant = world.partition("__")
        return _words(main) + (f": {_words(variant)}" if variant else "")

    def palette(self, world: str) -> Palette:
        """Return the tiles of a world: the labelled ones, else those that its scenes show."""
        if world not in self._palettes:
            try:
                made = Palette.of(TileLabels.load(self.homes[world] / LABELS / f"{world}.npz"))
            except DatasetError:
                made = _seen(self.scene(world, 0))
            self._palettes[world] = made
        return self._palettes[world]

    def thumbnail(self, world: str, index: int) -> bytes:
        """Return the last frame of a scene as a PNG; raises as ``scene``."""
        if (world, index) not in self._thumbnails:
            sink = io.BytesIO()
            Image.fromarray(self.scene(world, index).frames[-1]).save(sink, "PNG")
            self._thumbnails[world, index] = sink.getvalue()
        return self._thumbnails[world, index]

    def has_simulator(self, world: str) -> bool:
        """Return whether the real world can run here beside the generated one."""
        if world not in self._simulators:
            self._simulators[world] = has_simulator(world)
        return self._simulators[world]

    def cards(self) -> list[dict[str, Any]]:
        """Return what a gallery shows of each world."""
        return [self._card(name) for name in self._paths]

    def _card(self, name: str) -> dict[str, Any]:
        spec = self.scene(name, 0).world
        return {
            **card(spec, self.title(name)),
            "name": name,
            "scenes": len(self._paths[name]),
            "experimental": is_experimental(self._quality[self.homes[name]].get(name)),
        }


@cache  # of names in the catalogue only: what anybody may ask for must not read the disk each time
def _without_weights(world: str) -> str | None:
    """Return what to say where no weights in the package have ``world``; None where some do."""
    try:
        shipped_checkpoint(world)
    except CheckpointError as error:
        return str(error)
    return None


@cache
def _lacked(folder: Path, world: str) -> str:
    return str(lacking(folder, world, (), "--checkpoint {}"))


def _context(folders: list[Path]) -> int:
    contexts = {from_json(ModelConfig, read_json(folder / CONFIG)["model"]).context for folder in folders}
    if len(contexts) > 1:
        raise InvalidInputError(f"{', '.join(map(str, folders))}: see different numbers of frames; play one of them.")
    return contexts.pop()


def _words(name: str) -> str:
    parts = [p for p in name.split("_") if p]
    return " ".join(p if i and p in _FILLERS else p.capitalize() for i, p in enumerate(parts))


def _seen(scene: Scene) -> Palette:
    """Return a palette of what a scene shows."""
    frame = scene.frames[-1]
    h, w = scene.world.grid
    cells = frame.reshape(h, CELL, w, CELL, 3).swapaxes(1, 2).reshape(h * w, -1)
    tiles, counts = np.unique(cells, axis=0, return_counts=True)
    ordered = tiles[np.argsort(-counts, kind="stable")].reshape(-1, CELL, CELL, 3)[:64]
    nothing = np.zeros((0, CELL, CELL, 3), np.uint8)
    return Palette(ordered, ordered[0], nothing, np.zeros(0, np.int64), np.zeros(0, np.int64))
