"""Packed tables: a whole dataset in a few files, lossless, small enough to carry and quick to load.

A part is an archive of at most ``PART_BYTES`` with the tables of some worlds. A grid is kept as the cells that change
from row to row (2% of them on average) and rebuilt by a forward fill, without Python per frame.

    packed.json         what is in which part, with checksums
    part-000.zip        zlib-compressed .npy arrays named WORLD/FIELD
"""

from __future__ import annotations

import io
import json
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from actionparty.data.dataset import ForeignDatasetError
from actionparty.data.files import make_folder, seal, sha256, unseal, write_atomic
from actionparty.data.shards import spec_from_json, spec_to_json
from actionparty.data.tables import WorldTable
from actionparty.errors import DatasetError, InvalidInputError, unknown_name
from actionparty.types import WorldSpec

FORMAT = 1
INDEX = "packed.json"
PART_BYTES = 60_000_000
_MOST_CELLS = 2**16
_ENTRY_BYTES = 300
"""At most what an archive adds to each array."""
_ARRAYS = tuple(f.name for f in fields(WorldTable) if f.name not in ("spec", "grid"))
_SMALL = {"position": np.float32, "facing": np.int8, "action": np.int16, "reward": np.float32, "identity": np.int32}


@dataclass(frozen=True)
class PackedWorld:
    """One packed world: its ``rows`` and the file of the ``part`` that holds them."""

    spec: WorldSpec
    rows: int
    part: str


@dataclass(frozen=True)
class PackedSummary:
    """What is in a packed dataset, by its index."""

    path: Path
    worlds: tuple[PackedWorld, ...]
    parts: dict[str, int]
    """Bytes of each part"""
    damaged: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Rows of all worlds."""
        return sum(world.rows for world in self.worlds)

    @property
    def bytes(self) -> int:
        """Size of all parts."""
        return sum(self.parts.values())


def write_packed(tables: Iterable[WorldTable], out: Path, part_bytes: int = PART_BYTES) -> list[dict[str, Any]]:
    """Pack ``tables`` (one world each) into the new folder ``out``; return what the index says of each part.

    Raises:
        InvalidInputError: ``out`` is not empty; nothing is touched.
        DatasetError: one world alone exceeds ``part_bytes``, or the disk refuses.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidInputError(f"{out}: exists and is not empty; choose another --out.")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    make_folder(partial)
    parts: list[dict[str, Any]] = []
    arrays: dict[str, bytes] = {}
    worlds: dict[str, Any] = {}
    for table in tables:
        name, packed = table.spec.name, _encode(table)
        size = _size(packed)
        if size > part_bytes:
            raise DatasetError(
                f"{name}: {size / 1e6:.0f} MB packed, more than a part may have ({part_bytes / 1e6:.0f})."
            )
        if _size(arrays) + size > part_bytes:
            parts.append(_write_part(partial, len(parts), arrays, worlds))
            arrays, worlds = {}, {}
        arrays |= {f"{name}/{key}.npy.z": value for key, value in packed.items()}
        worlds[name] = {"spec": spec_to_json(table.spec), "rows": len(table)}
    if worlds:
        parts.append(_write_part(partial, len(parts), arrays, worlds))
    if not parts:
        shutil.rmtree(partial)
        raise DatasetError("nothing to pack: no world has episodes to train on.")
    write_atomic(partial / INDEX, seal({"format": FORMAT, "parts": parts}, indent=2))
    if out.exists():
        out.rmdir()  # it is empty
    partial.rename(out)
    return parts


def _size(arrays: Mapping[str, bytes]) -> int:
    return sum(len(content) + _ENTRY_BYTES for content in arrays.values())


def is_packed(path: Path) -> bool:
    """Return whether ``path`` is a folder that ``write_packed`` made."""
    return (path / INDEX).is_file()


def packed_worlds(path: Path) -> dict[str, int]:
    """Return the rows of every world packed in ``path``; raise ``DatasetError`` where the index is damaged."""
    return {name: int(about["rows"]) for part in _index(path)["parts"] for name, about in part["worlds"].items()}


def inspect_packed(path: Path) -> PackedSummary:
    """Summarise what the index of ``path`` says, and name parts that are missing or of another size.

    Raises:
        DatasetError: the index is damaged or of another version.
    """
    parts = _index(path)["parts"]
    worlds = [
        PackedWorld(spec_from_json(about["spec"]), int(about["rows"]), part["file"])
        for part in parts
        for about in part["worlds"].values()
    ]
    damaged = [problem for part in parts if (problem := _size_problem(path / part["file"], part["bytes"]))]
    return PackedSummary(path, tuple(worlds), {p["file"]: int(p["bytes"]) for p in parts}, tuple(damaged))


def verify_packed(path: Path) -> list[str]:
    """Return every problem of the packed dataset at ``path``, naming its file; none: every byte is as written.

    Raises:
        ForeignDatasetError: it is of another version.
    """
    try:
        parts = _index(path)["parts"]
    except ForeignDatasetError:
        raise
    except DatasetError as error:
        return [str(error)]
    problems = []
    for part in parts:
        try:
            _read_part(path / part["file"], part["sha256"])
        except DatasetError as error:
            problems.append(str(error))
    listed = {INDEX, *(part["file"] for part in parts)}
    extra = sorted(str(entry) for entry in path.iterdir() if entry.name not in listed)
    return problems + [f"{entry} is not part of the packed dataset." for entry in extra]


def load_packed(path: Path, worlds: Iterable[str] | None = None) -> Iterator[WorldTable]:
    """Yield the tables packed in ``path``, or those of ``worlds`` only, one at a time.

    Raises:
        UnknownNameError: a world that is not there.
        DatasetError: a part is missing, damaged, or of another version.
    """
    index = _index(path)
    known = packed_worlds(path)
    wanted = set(known if worlds is None else worlds)
    for name in wanted:
        if name not in known:
            raise unknown_name(f"world packed in {path}", name, known)
    for part in index["parts"]:
        if wanted.isdisjoint(part["worlds"]):
            continue
        content = _read_part(path / part["file"], part["sha256"])
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name, about in part["worlds"].items():
                if name in wanted:
                    yield _decode(archive, name, about)


def _encode(table: WorldTable) -> dict[str, bytes]:
    """Return the .npy bytes, zlib-compressed, of every array of ``table``."""
    arrays = {name: np.asarray(getattr(table, name)) for name in _ARRAYS}
    arrays = {name: value.astype(_SMALL.get(name, value.dtype)) for name, value in arrays.items()}
    arrays |= changes(table.grid)
    return {name: _npy(value) for name, value in arrays.items()}


def changes(grid: np.ndarray) -> dict[str, np.ndarray]:
    """Return the cells of ``grid`` (R, M) that differ from the row before: how many per row, which, and their tiles."""
    before = np.vstack([np.full((1, grid.shape[1]), -1, grid.dtype), grid[:-1]])
    if grid.shape[1] > _MOST_CELLS:
        raise DatasetError(f"a frame has {grid.shape[1]} cells; packed datasets hold at most {_MOST_CELLS}.")
    row, cell = np.nonzero(grid != before)
    return {
        "change_count": np.bincount(row, minlength=len(grid)).astype(np.uint16),
        "change_cell": cell.astype(np.uint16),
        "change_tile": grid[row, cell].astype(np.uint32),
    }


def rebuild(count: np.ndarray, cell: np.ndarray, tile: np.ndarray, cells: int) -> np.ndarray:
    """Return the grid (R, cells) int32 of which ``changes`` made ``count`` (R,), ``cell`` and ``tile``."""
    rows = np.repeat(np.arange(len(count)), count)
    latest = np.zeros((len(count), cells), np.int32)
    latest[rows, cell] = np.arange(len(cell), dtype=np.int32)
    np.maximum.accumulate(latest, axis=0, out=latest)
    result: np.ndarray = tile.astype(np.int32)[latest]
    return result


def _decode(archive: zipfile.ZipFile, name: str, about: Mapping[str, Any]) -> WorldTable:
    spec = spec_from_json(about["spec"])
    values = {key: _read(archive, name, key) for key in _ARRAYS}
    count, cell, tile = (_read(archive, name, f"change_{key}") for key in ("count", "cell", "tile"))
    grid = rebuild(count, cell, tile, spec.grid[0] * spec.grid[1])
    for key in ("facing", "action", "identity"):
        values[key] = values[key].astype(np.int64)
    return WorldTable(spec=spec, grid=grid, **values)


def _npy(value: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, value, allow_pickle=False)
    return zlib.compress(stream.getvalue(), 6)


def _read(archive: zipfile.ZipFile, name: str, key: str) -> np.ndarray:
    value: np.ndarray = np.load(io.BytesIO(zlib.decompress(archive.read(f"{name}/{key}.npy.z"))), allow_pickle=False)
    return value


def _write_part(out: Path, number: int, arrays: Mapping[str, bytes], worlds: Mapping[str, Any]) -> dict[str, Any]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in arrays.items():
            archive.writestr(name, content)
    content = stream.getvalue()
    file = f"part-{number:03d}.zip"
    write_atomic(out / file, content)
    return {"file": file, "bytes": len(content), "sha256": sha256(content), "worlds": dict(worlds)}


def _index(path: Path) -> dict[str, Any]:
    try:
        index = unseal((path / INDEX).read_bytes(), indent=2)
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise DatasetError(f"{path / INDEX}: can't be read ({error}); pack the dataset again.") from error
    if index.get("format") != FORMAT:
        raise ForeignDatasetError(
            f"{path}: packed as format {index.get('format')!r}, this version reads {FORMAT}; pack again."
        )
    return index


def _size_problem(path: Path, expected: int) -> str | None:
    if not path.is_file():
        return f"{path}: a part of the dataset is missing; copy or pack it again."
    size = path.stat().st_size
    return None if size == expected else f"{path}: damaged ({size} bytes instead of {expected}); copy or pack it again."


def _read_part(path: Path, expected: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"{path}: a part of the dataset is missing ({error.strerror}); copy or pack it again."
        ) from error
    if sha256(content) != expected:
        raise DatasetError(f"{path}: damaged (its checksum differs); copy or pack it again.")
    return content
