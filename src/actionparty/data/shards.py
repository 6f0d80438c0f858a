"""What the files of one episode are called, and what is written of a world: names and JSON, no file formats.

Training from a packed dataset needs this and not ``episodes.py``, so it runs where pyarrow is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actionparty.types import WorldSpec

PARTS = ("steps", "tiles")


@dataclass(frozen=True)
class FileRecord:
    """What a file must be: its size in ``bytes`` and its ``sha256``."""

    bytes: int
    sha256: str


def shard_path(stem: Path, part: str) -> Path:
    """Return the path of one of the ``PARTS`` of the shard ``stem``."""
    return stem.with_name(f"{stem.name}.{part}.parquet")


def spec_to_json(spec: WorldSpec) -> dict[str, Any]:
    """Return ``spec`` as plain JSON values."""
    return asdict(spec) | {"grid": list(spec.grid), "actions": list(spec.actions)}


def spec_from_json(value: Mapping[str, Any]) -> WorldSpec:
    """Return the ``WorldSpec`` that ``spec_to_json`` wrote."""
    h, w = value["grid"]
    return WorldSpec(value["name"], value["subjects"], (h, w), tuple(value["actions"]))
