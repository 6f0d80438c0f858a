"""The files of an evaluation's records: arrays with a few words about them, whole or absent. Knows no metric."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actionparty.data.files import NPZ_DAMAGE, make_folder, write_atomic
from actionparty.errors import DatasetError

FORMAT = 1


def _compact(array: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers in the smallest type that holds them; ``_wide`` undoes it."""
    if array.dtype != np.int64 or not array.size:
        return array
    low, high = np.min_scalar_type(array.min()), np.min_scalar_type(array.max())
    return array.astype(np.promote_types(low, high) if np.promote_types(low, high).kind in "iu" else np.int64)


def _wide(name: str, array: NDArray[Any]) -> NDArray[Any]:
    whole = array.dtype.kind in "iu" and not name.startswith(("shots.frame", "shots.truth"))
    return array.astype(np.int64) if whole else array


def write_arrays(path: Path, about: Mapping[str, Any], values: Mapping[str, NDArray[Any]]) -> None:
    """Write one .npz atomically, with ``about`` as JSON in it; raise ``DatasetError`` where the disk refuses."""
    text = json.dumps({"format": FORMAT, **about}).encode()
    content = io.BytesIO()
    packed: dict[str, Any] = {name: _compact(array) for name, array in values.items()}
    np.savez_compressed(content, about=np.frombuffer(text, np.uint8), **packed)
    make_folder(path.parent)
    write_atomic(path, content.getvalue())


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return what ``write_arrays`` wrote; raise ``DatasetError`` where it is missing, damaged or of another version."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            values = {name: file[name] for name in file.files}
        about = json.loads(values.pop("about").tobytes())
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such record; evaluate again with the same --out.") from error
    except NPZ_DAMAGE as error:
        raise damaged(path, error) from error
    if about.get("format") != FORMAT:
        raise DatasetError(f"{path}: format {about.get('format')!r}, but this version reads {FORMAT}.")
    return about, {name: _wide(name, array) for name, array in values.items()}


def damaged(path: Path, error: Exception) -> DatasetError:
    """Return the error that says that a record can't be used, and what to do."""
    return DatasetError(f"{path}: damaged record ({error}); remove the file and evaluate again with the same --out.")
