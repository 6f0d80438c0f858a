"""Files that are either whole or absent, and JSON that shows when a single byte of it was changed.

This module knows nothing of worlds or episodes.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actionparty.errors import DatasetError

SEAL = "seal"
NPZ_DAMAGE = (
    *(OSError, ValueError, EOFError, KeyError, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What reading a damaged .npz can raise: with flipped bits it may claim to be encrypted, or packed as nobody knows."""


def write_atomic(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that a crash leaves the old file or the new one, never a mixture.

    Raises:
        DatasetError: the disk is full or refuses; what was there before is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error


def append_line(path: Path, line: bytes) -> None:
    """Append ``line`` to ``path`` and wait until the disk has it; a failed append is taken back.

    Raises:
        DatasetError: the disk is full or refuses.
    """
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if path.exists():
            os.truncate(path, size)
        raise _cannot_write(path, error) from error


def make_folder(path: Path) -> None:
    """Make ``path`` and its parents; raise ``DatasetError`` where the disk refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error


def sync_folder(path: Path) -> None:
    """Wait until the disk has the names in the folder ``path``."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(content: bytes) -> str:
    """Return the SHA-256 of ``content`` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def seal(value: dict[str, Any], indent: int | None = None) -> bytes:
    """Return ``value`` as one JSON text and newline that carries its own checksum."""
    return (_dump(value | {SEAL: _digest(value)}, indent) + "\n").encode()


def unseal(content: bytes, indent: int | None = None) -> dict[str, Any]:
    """Return what ``seal`` wrote.

    Raises:
        ValueError: any byte differs.
    """
    value = json.loads(content)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    value.pop(SEAL, None)
    if seal(value, indent) != content:
        raise ValueError("its checksum does not fit")
    return value


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for one writer; freed when the process ends, however it ends.

    Raises:
        DatasetError: another process holds it.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DatasetError(f"{folder} is being recorded by another process; wait or choose another.") from error
        yield
    finally:
        os.close(descriptor)


def _dump(value: dict[str, Any], indent: int | None) -> str:
    return json.dumps(value, indent=indent, sort_keys=True, ensure_ascii=True)


def _digest(value: dict[str, Any]) -> str:
    return sha256(_dump(value, None).encode())[:16]


def _cannot_write(path: Path, error: OSError) -> DatasetError:
    reason = error.strerror or error
    return DatasetError(f"could not write {path}: {reason}. Free some space or choose another folder, then repeat.")
