"""A dataset folder: ``info.json`` says what it is, ``manifest.jsonl`` lists its shards, ``<world>/`` holds their files.

A shard is part of the dataset once its line in the manifest is whole, which happens last; so whatever is interrupted,
everything listed can be read. Each line carries the checksums of its files and its own. One process writes at a time.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from actionparty.data import files
from actionparty.data.shards import PARTS, FileRecord, shard_path, spec_from_json, spec_to_json
from actionparty.errors import DatasetError, unknown_name
from actionparty.types import Episode, WorldSpec

FORMAT = "actionparty-dataset"
VERSION = 1
INFO = "info.json"
MANIFEST = "manifest.jsonl"
STAGING = ".staging"
"""Folder inside a dataset in which shards are written before they become part of it."""

log = logging.getLogger(__name__)


class ForeignDatasetError(DatasetError):
    """A dataset of another version or format: there is nothing this code could say of its state."""


@dataclass(frozen=True)
class Shard:
    """One line of the manifest: an episode and the files that hold it."""

    name: str
    """Path of the stem inside the dataset, e.g. ``coins/mixed-0000003``."""
    world: WorldSpec
    seed: int
    policy: str
    rows: int
    ended: bool
    files: Mapping[str, FileRecord]

    @staticmethod
    def of(name: str, episode: Episode, records: Mapping[str, FileRecord]) -> Shard:
        """Return the shard ``name`` that holds ``episode`` in the files of ``records``."""
        return Shard(name, episode.world, episode.seed, episode.policy, len(episode), episode.ended, records)

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(record.bytes for record in self.files.values())

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        records = {part: asdict(record) for part, record in self.files.items()}
        return asdict(self) | {"world": spec_to_json(self.world), "files": records}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Shard:
        """Return what ``to_json`` gave."""
        records = {part: FileRecord(**record) for part, record in value["files"].items()}
        return Shard(**{**value, "world": spec_from_json(value["world"]), "files": records})


@dataclass
class Dataset:
    """An open dataset: its folder, what ``info.json`` says and its shards by name, in the order of recording."""

    path: Path
    info: dict[str, Any]
    shards: dict[str, Shard]
    problems: list[str] = field(default_factory=list)
    """Lines of the manifest that could not be read."""

    @property
    def worlds(self) -> dict[str, WorldSpec]:
        """Every recorded world by name; one recorded with several numbers of subjects shows the first."""
        found: dict[str, WorldSpec] = {}
        for shard in self.shards.values():
            found.setdefault(shard.world.name, shard.world)
        return found

    def read(self, shard: Shard) -> Episode:
        """Read one episode, checking every byte; raise ``DatasetError`` where it is damaged."""
        from actionparty.data.episodes import read_episode  # with pyarrow, which packed datasets do without

        return read_episode(self.path / shard.name, shard.files)


def open_dataset(path: Path) -> Dataset:
    """Open the dataset at ``path``.

    Raises:
        DatasetError: there is none, it is of another version, or ``info.json`` is damaged.
    """
    if not path.is_dir():
        raise DatasetError(f"{path}: there is no dataset here. Make one with `actionparty record WORLD --out {path}`.")
    info = _read_info(path)
    shards, problems = _read_manifest(path / MANIFEST)
    return Dataset(path, info, shards, problems)


def create_or_open(path: Path) -> Dataset:
    """Open the dataset at ``path``, made anew where the folder is absent or empty.

    Raises:
        DatasetError: the folder holds something else, which is left as it is, or another version.
    """
    if path.exists() and not path.is_dir():
        raise DatasetError(f"{path} is a file. Choose another folder for the dataset.")
    files.make_folder(path)
    if not (path / INFO).exists():
        foreign = [entry.name for entry in path.iterdir() if not _is_unfinished(entry)]
        if foreign:
            raise DatasetError(f"{path} exists but is not a dataset (it holds {foreign[0]}). Choose another folder.")
        head = {"format": FORMAT, "version": VERSION, "package": package_version()}
        _write_info(path, head | {"recordings": [], "worlds": {}})
    return open_dataset(path)


def mend(dataset: Dataset) -> list[str]:
    """Remove what an interrupted recording left behind; return the names of shards whose files are damaged.

    Only for the process that holds the dataset (``files.exclusive``). Damaged shards stay until recorded again.
    """
    shutil.rmtree(dataset.path / STAGING, ignore_errors=True)
    for entry in dataset.path.iterdir():
        if _is_unfinished(entry) and entry.is_file():
            entry.unlink()
    if dataset.problems:
        lines = [files.seal(shard.to_json()) for shard in dataset.shards.values()]
        files.write_atomic(dataset.path / MANIFEST, b"".join(lines))
        dataset.problems.clear()
    return [name for name, shard in dataset.shards.items() if any(_file_problems(dataset.path, shard))]


def note_recording(dataset: Dataset, settings: dict[str, Any]) -> None:
    """Add ``settings`` to the ways in which the dataset was recorded."""
    if settings not in dataset.info["recordings"]:
        dataset.info["recordings"].append(settings)
        _write_info(dataset.path, dataset.info)


def commit(dataset: Dataset, shard: Shard, staged: Path) -> None:
    """Make the files of the stem ``staged`` the shard ``shard`` of the dataset.

    Raises:
        DatasetError: the disk is full or refuses; the dataset is as it was.
    """
    stem = dataset.path / shard.name
    files.make_folder(stem.parent)
    for part in PARTS:
        shard_path(staged, part).replace(shard_path(stem, part))
    files.sync_folder(stem.parent)
    try:
        _note_world(dataset, shard.world)
        files.append_line(dataset.path / MANIFEST, files.seal(shard.to_json()))
    except DatasetError:
        for part in PARTS:
            shard_path(stem, part).unlink()
        raise
    dataset.shards[shard.name] = shard


def load_episodes(
    path: Path, worlds: Collection[str] | None = None, on_damage: Literal["skip", "raise"] = "skip"
) -> Iterator[Episode]:
    """Yield the episodes of ``worlds`` (default: all), in the order of recording.

    Damaged shards are named in a warning and skipped, or raise ``DatasetError``.

    Raises:
        DatasetError: no dataset, another version; with ``on_damage="raise"`` any damage.
        UnknownNameError: a world that was not recorded here.
    """
    dataset = open_dataset(path)
    for name in worlds or ():
        if name not in dataset.worlds:
            raise unknown_name(f"world in {path}", name, dataset.worlds)
    for problem in dataset.problems:
        _complain(DatasetError(problem), on_damage)
    for shard in dataset.shards.values():
        if worlds is not None and shard.world.name not in worlds:
            continue
        try:
            episode = dataset.read(shard)
        except DatasetError as error:
            _complain(error, on_damage)
            continue
        yield episode


def verify(path: Path) -> list[str]:
    """Return every problem of the dataset at ``path``, each naming its file; none means that every byte is as written.

    Raises:
        DatasetError: there is no dataset at all.
        ForeignDatasetError: it is of another version or format.
    """
    if not any((path / name).is_file() for name in (INFO, MANIFEST)):
        raise DatasetError(f"{path}: there is no dataset here.")
    try:
        dataset = open_dataset(path)
    except ForeignDatasetError:
        raise
    except DatasetError as error:
        return [str(error)]
    problems = list(dataset.problems)
    for shard in dataset.shards.values():
        found = list(_file_problems(path, shard))
        problems += found or _content_problems(dataset, shard)
    return problems + _unlisted(dataset)


def package_version() -> str:
    """Return the version of this package, ``unknown`` where it is not installed."""
    try:
        return version("actionparty")
    except PackageNotFoundError:
        return "unknown"


def _complain(error: DatasetError, on_damage: Literal["skip", "raise"]) -> None:
    if on_damage == "raise":
        raise error
    log.warning("skipped: %s", error)


def _read_info(path: Path) -> dict[str, Any]:
    try:
        content = (path / INFO).read_bytes()
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is not a dataset: it has no {INFO}.") from error
    try:
        found = json.loads(content)
        if isinstance(found, dict) and found.get("format") == FORMAT and found.get("version") != VERSION:
            raise ForeignDatasetError(
                f"{path} is a dataset of version {found.get('version')}; this code reads version {VERSION}. "
                "Install the package that recorded it, or record again into another folder."
            )
        info = files.unseal(content, indent=2)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path / INFO} is damaged or not ours: {error}.") from error
    if info.get("format") != FORMAT:
        raise ForeignDatasetError(f"{path} is not one of our datasets: its {INFO} says format {info.get('format')!r}.")
    return info


def _note_world(dataset: Dataset, world: WorldSpec) -> None:
    specs = dataset.info["worlds"].setdefault(world.name, [])
    if spec_to_json(world) not in specs:
        specs.append(spec_to_json(world))
        _write_info(dataset.path, dataset.info)


def _write_info(path: Path, info: dict[str, Any]) -> None:
    files.write_atomic(path / INFO, files.seal(info, indent=2))


def _read_manifest(path: Path) -> tuple[dict[str, Shard], list[str]]:
    """Return the shards, later lines superseding earlier ones, and what is wrong with the lines that can't be read."""
    shards: dict[str, Shard] = {}
    problems = []
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            shard = Shard.from_json(files.unseal(line))
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f"{path} line {number} is damaged or cut off ({error}); its shard is not read.")
            continue
        shards[shard.name] = shard
    return shards, problems


def _file_problems(path: Path, shard: Shard) -> Iterator[str]:
    for part, record in shard.files.items():
        file = shard_path(path / shard.name, part)
        if not file.is_file():
            yield f"{file} is missing."
            continue
        content = file.read_bytes()
        if len(content) != record.bytes:
            yield f"{file} is damaged: it has {len(content)} bytes instead of {record.bytes}."
        elif files.sha256(content) != record.sha256:
            yield f"{file} is damaged: its checksum differs."


def _content_problems(dataset: Dataset, shard: Shard) -> list[str]:
    try:
        episode = dataset.read(shard)
    except DatasetError as error:
        return [str(error)]
    if Shard.of(shard.name, episode, shard.files) != shard:
        return [f"{dataset.path / shard.name} holds another episode than the manifest says."]
    return []


def _unlisted(dataset: Dataset) -> list[str]:
    listed = {shard_path(dataset.path / name, part) for name in dataset.shards for part in PARTS}
    listed |= {dataset.path / INFO, dataset.path / MANIFEST}
    extra = sorted(file for file in dataset.path.rglob("*") if file.is_file() and file not in listed)
    return [f"{file} is not part of the dataset (unfinished, or its line in {MANIFEST} is lost)." for file in extra]


def _is_unfinished(entry: Path) -> bool:
    """Return whether ``entry`` is what an interrupted write of ours leaves in the dataset folder."""
    ours = (f".{INFO}.", f".{MANIFEST}.")
    return entry.name == STAGING or (entry.name.startswith(ours) and entry.name.endswith(".tmp"))
