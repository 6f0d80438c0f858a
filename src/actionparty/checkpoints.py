"""Checkpoint folders by name: where they are, what their JSON says. Their tensors are read by ``training.checkpoint``.

A checkpoint is a folder with ``model.safetensors`` and ``config.json``. This module knows no torch, so that what comes
with the package can be listed at once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actionparty.errors import CheckpointError, unknown_name

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
QUALITY = "quality.json"
"""How well each world was measured to go, where ``actionparty card`` wrote it."""
CARD = "MODEL_CARD.md"
EXPERIMENTAL_BELOW = 0.95
"""A world whose movement accuracy after one step (MA@1) is lower is called experimental."""
SHIPPED = Path(__file__).resolve().parent / "weights"
"""Folder of the checkpoints that come with the package."""


def shipped_names() -> list[str]:
    """Return the names of the checkpoints in the package."""
    return sorted(p.parent.name for p in SHIPPED.glob(f"*/{WEIGHTS}"))


def find_checkpoint(name: str | Path) -> Path:
    """Return the folder of a checkpoint: a shipped name, a folder with weights, or a run folder.

    Raises:
        CheckpointError: the path holds no checkpoint.
        UnknownNameError: neither a path nor a shipped name; the nearest names are suggested.
    """
    if str(name) in shipped_names():
        return SHIPPED / str(name)
    path = Path(name)
    if path.name == WEIGHTS:
        path = path.parent
    if found := _weights_in(path):
        return found
    if path.exists():
        raise CheckpointError(
            f"{path}: no {WEIGHTS} in it. Give a checkpoint folder, a run folder, or a shipped name "
            f"({', '.join(shipped_names())})."
        )
    raise unknown_name("checkpoint", str(name), [*shipped_names(), *_neighbours(path)])


def _weights_in(folder: Path) -> Path | None:
    return next((place for place in (folder, folder / "weights") if (place / WEIGHTS).is_file()), None)


def _neighbours(path: Path) -> list[str]:
    """Return the checkpoints beside a ``path`` that does not exist: one of them may have been meant."""
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    return [str(folder) for folder in beside if _weights_in(folder)]


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of a checkpoint's weights."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def about(folder: Path) -> dict[str, Any]:
    """Return what is known of a checkpoint's weights beside their shape: worlds, frames seen, recipe."""
    values: dict[str, Any] = read_json(folder / CONFIG).get("about", {})
    return values


def quality(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what was measured of each world of a checkpoint; empty where nothing was."""
    if not (folder / QUALITY).is_file():
        return {}
    values: dict[str, dict[str, Any]] = read_json(folder / QUALITY).get("worlds", {})
    return values


def is_experimental(measured: Mapping[str, Any] | None) -> bool:
    """Return whether what ``quality`` says of a world is below ``EXPERIMENTAL_BELOW``; False where nothing is known."""
    return measured is not None and measured.get("ma1", 0.0) < EXPERIMENTAL_BELOW


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write JSON atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(values, indent=2) + "\n")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(f"{path}: could not be written ({error}). Is the disk full?") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; ``CheckpointError`` where it is missing or damaged."""
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}).") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object.")
    return values
