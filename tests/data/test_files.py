from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from actionparty.data import files
from actionparty.errors import DatasetError


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_seal_notices_every_changed_byte(indent: int | None) -> None:
    text = files.seal({"name": "coins", "rows": [1, 2], "more": {"a": None, "b": 0.5}}, indent)
    assert files.unseal(text, indent) == {"name": "coins", "rows": [1, 2], "more": {"a": None, "b": 0.5}}
    for i in range(len(text)):
        for flip in (1, 8, 32, 128):
            with pytest.raises(ValueError, match=r".*"):
                files.unseal(text[:i] + bytes([text[i] ^ flip]) + text[i + 1 :], indent)
        with pytest.raises(ValueError, match=r".*"):
            files.unseal(text[:i], indent)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, full_disk: None) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    with pytest.raises(DatasetError, match="No space left"):
        files.write_atomic(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("old", [b"", b"one\n"])
def test_a_full_disk_takes_an_append_back(tmp_path: Path, full_disk: None, old: bytes) -> None:
    path = tmp_path / "lines"
    path.write_bytes(old)
    with pytest.raises(DatasetError, match="No space left"):
        files.append_line(path, b"two\n")
    assert path.read_bytes() == old


def test_a_file_in_the_way_of_a_folder_is_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(DatasetError, match="could not write"):
        files.make_folder(tmp_path / "a" / "b")


def test_only_one_writer_at_a_time(tmp_path: Path) -> None:
    with files.exclusive(tmp_path), pytest.raises(DatasetError, match="another process"), files.exclusive(tmp_path):
        pass
    with files.exclusive(tmp_path):
        pass
