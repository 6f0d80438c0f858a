from __future__ import annotations

from pathlib import Path

import pytest

from actionparty import checkpoints
from actionparty.checkpoints import CONFIG, WEIGHTS, about, find_checkpoint, fingerprint, read_json, write_json
from actionparty.errors import CheckpointError, UnknownNameError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    (path / WEIGHTS).write_bytes(b"weights")
    write_json(path / CONFIG, {"about": {"frames": 12}})
    return path


def test_a_checkpoint_is_found_by_folder_file_or_run(folder: Path) -> None:
    run = folder.parent / "run"
    run.mkdir()
    folder.rename(run / "weights")
    found = run / "weights"
    assert [find_checkpoint(p) for p in (found, str(found), found / WEIGHTS, run)] == [found] * 4


def test_what_is_no_checkpoint_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"no {WEIGHTS} in it"):
        find_checkpoint(tmp_path)
    with pytest.raises(UnknownNameError, match=r"unknown checkpoint 'nowhere'"):
        find_checkpoint("nowhere")


def test_a_shipped_name_is_found_and_suggested(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SHIPPED", folder.parent)
    assert find_checkpoint("model") == folder
    with pytest.raises(UnknownNameError, match=r"Did you mean model"):
        find_checkpoint("modle")


def test_a_run_beside_the_one_named_is_suggested(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean .*model\?"):
        find_checkpoint(folder.parent / "mdel")


def test_the_json_beside_the_weights_is_read_without_them(folder: Path) -> None:
    assert about(folder) == {"frames": 12}
    before = fingerprint(folder)
    (folder / WEIGHTS).write_bytes(b"others")
    assert fingerprint(folder) != before


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", None])
def test_json_that_is_damaged_or_missing_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.json: "):
        read_json(tmp_path / "a.json")
