from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.data.fakes import FakeWorld, episode, same

from actionparty.data import files
from actionparty.data.dataset import (
    INFO,
    MANIFEST,
    STAGING,
    ForeignDatasetError,
    Shard,
    commit,
    create_or_open,
    load_episodes,
    mend,
    note_recording,
    open_dataset,
    verify,
)
from actionparty.data.episodes import write_episode
from actionparty.errors import DatasetError, UnknownNameError
from actionparty.types import Episode


def made_episodes() -> list[Episode]:
    pairs = [("left", 0), ("right", 0), ("left", 1), ("left", 2)]
    return [episode(FakeWorld(name, 2 + len(name) % 2), 12, seed) for name, seed in pairs]


def add(path: Path, made: Episode) -> Shard:
    dataset = open_dataset(path)
    files.make_folder(path / STAGING)
    shard = Shard.of(f"{made.world.name}/any-{made.seed:07d}", made, write_episode(path / STAGING / "1", made))
    commit(dataset, shard, path / STAGING / "1")
    shutil.rmtree(path / STAGING)
    return shard


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "set"
    create_or_open(path)
    for made in made_episodes():
        add(path, made)
    return path


@pytest.fixture
def dataset(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "set"))


def all_files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file())


def test_episodes_come_back_in_order(dataset: Path) -> None:
    loaded = list(load_episodes(dataset, on_damage="raise"))
    assert len(loaded) == 4
    assert all(same(a, b) for a, b in zip(loaded, made_episodes(), strict=True))


def test_only_the_wanted_worlds_are_loaded(dataset: Path) -> None:
    assert [e.seed for e in load_episodes(dataset, ["left"])] == [0, 1, 2]
    assert [e.world.name for e in load_episodes(dataset, ["right"])] == ["right"]


def test_an_unknown_world_is_named_with_the_nearest(dataset: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean right"):
        list(load_episodes(dataset, ["rihgt"]))


def test_info_says_what_it_is(dataset: Path) -> None:
    info = json.loads((dataset / INFO).read_text())
    assert (info["format"], info["version"]) == ("actionparty-dataset", 1)
    assert info["worlds"]["left"][0]["actions"] == ["noop", "forward", "turn_right"]
    opened = open_dataset(dataset)
    note_recording(opened, {"steps": 5})
    note_recording(opened, {"steps": 5})
    assert open_dataset(dataset).info["recordings"] == [{"steps": 5}]
    assert set(open_dataset(dataset).worlds) == {"left", "right"}


def test_a_whole_dataset_has_no_problems(dataset: Path) -> None:
    assert verify(dataset) == []


def test_a_flipped_byte_anywhere_is_found(dataset: Path) -> None:
    rng = np.random.default_rng(0)
    for path in all_files(dataset):
        whole = path.read_bytes()
        for i in {0, len(whole) - 1, *rng.integers(0, len(whole), 25).tolist()}:
            path.write_bytes(whole[:i] + bytes([whole[i] ^ (1 << int(rng.integers(8)))]) + whole[i + 1 :])
            assert any(path.name in problem for problem in verify(dataset)), f"{path} byte {i}"
        path.write_bytes(whole)
    assert verify(dataset) == []


@pytest.mark.parametrize("keep", [0, 1, 0.5, -1])
def test_truncation_is_found(dataset: Path, keep: float) -> None:
    for path in all_files(dataset):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * keep) if keep in (0, 0.5) else int(keep)])
        problems = verify(dataset)
        assert problems, path
        assert keep == 0 or any(path.name in problem for problem in problems), path
        path.write_bytes(whole)


def test_a_missing_file_is_found(dataset: Path) -> None:
    for path in all_files(dataset):
        whole = path.read_bytes()
        path.unlink()
        assert verify(dataset), path
        path.write_bytes(whole)


@pytest.mark.parametrize(
    "name", ["left/any-0000009.steps.parquet", "note.txt", ".staging/1.steps.parquet", ".info.json.7.tmp"]
)
def test_a_file_too_many_is_found(dataset: Path, name: str) -> None:
    path = dataset / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"half")
    assert [Path(name).name in problem for problem in verify(dataset)] == [True]


def test_exchanged_shards_are_found(dataset: Path) -> None:
    for part in ("steps", "tiles"):
        a, b = (dataset / "left" / f"any-000000{i}.{part}.parquet" for i in (0, 1))
        content = a.read_bytes()
        a.write_bytes(b.read_bytes())
        b.write_bytes(content)
    assert len(verify(dataset)) == 4


def test_training_skips_damage_and_says_so(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = dataset / "left" / "any-0000001.steps.parquet"
    path.write_bytes(path.read_bytes()[:500])
    with caplog.at_level(logging.WARNING):
        assert [(e.world.name, e.seed) for e in load_episodes(dataset)] == [("left", 0), ("right", 0), ("left", 2)]
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]
    with pytest.raises(DatasetError, match="any-0000001"):
        list(load_episodes(dataset, on_damage="raise"))


def test_a_torn_last_line_costs_one_shard_only(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = dataset / MANIFEST
    manifest.write_bytes(manifest.read_bytes()[:-30])
    assert [e.seed for e in load_episodes(dataset, ["left"])] == [0, 1]
    assert "line 4" in caplog.text
    with pytest.raises(DatasetError, match="line 4"):
        list(load_episodes(dataset, on_damage="raise"))


def test_mending_makes_room_for_new_lines(dataset: Path) -> None:
    manifest = dataset / MANIFEST
    manifest.write_bytes(manifest.read_bytes()[:-30])
    (dataset / STAGING).mkdir()
    (dataset / STAGING / "1.steps.parquet").write_bytes(b"half")
    (dataset / f".{INFO}.12.tmp").write_bytes(b"half")
    assert mend(open_dataset(dataset)) == []
    assert [problem for problem in verify(dataset) if "any-0000002" not in problem] == []
    add(dataset, made_episodes()[-1])
    assert verify(dataset) == []
    assert len(list(load_episodes(dataset, on_damage="raise"))) == 4


def test_mending_names_damaged_shards_and_leaves_them(dataset: Path) -> None:
    path = dataset / "right" / "any-0000000.tiles.parquet"
    path.write_bytes(b"nothing")
    before = (dataset / MANIFEST).read_bytes()
    assert mend(open_dataset(dataset)) == ["right/any-0000000"]
    assert path.read_bytes() == b"nothing"
    assert (dataset / MANIFEST).read_bytes() == before


def test_a_later_line_supersedes(dataset: Path) -> None:
    again = episode(FakeWorld("left", 2), 30, seed=0)
    add(dataset, again)
    assert verify(dataset) == []
    assert same(next(e for e in load_episodes(dataset, ["left"]) if e.seed == 0), again)


def test_a_failed_commit_leaves_the_dataset_as_it_was(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, line: bytes) -> None:
        raise DatasetError("disk full")

    monkeypatch.setattr(files, "append_line", refuse)
    with pytest.raises(DatasetError, match="disk full"):
        add(dataset, episode(FakeWorld("left", 2), 5, seed=9))
    shutil.rmtree(dataset / STAGING)
    assert verify(dataset) == []


def rewrite_info(path: Path, **change: object) -> None:
    info = files.unseal((path / INFO).read_bytes(), 2)
    (path / INFO).write_bytes(files.seal(info | change, 2))


@pytest.mark.parametrize("open_it", [open_dataset, create_or_open, lambda path: list(load_episodes(path)), verify])
def test_another_version_is_refused(dataset: Path, open_it: Callable[[Path], object]) -> None:
    rewrite_info(dataset, version=7)
    before = {path: path.read_bytes() for path in all_files(dataset)}
    with pytest.raises(ForeignDatasetError, match="version 7"):
        open_it(dataset)
    assert {path: path.read_bytes() for path in all_files(dataset)} == before


def test_another_format_is_refused(dataset: Path) -> None:
    rewrite_info(dataset, format="other")
    for open_it in (open_dataset, verify):
        with pytest.raises(ForeignDatasetError, match="other"):
            open_it(dataset)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b'{"a": 1}', b"[" * 5000])
def test_a_foreign_info_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / INFO).write_bytes(content)
    with pytest.raises(DatasetError, match=INFO):
        create_or_open(tmp_path)
    assert (tmp_path / INFO).read_bytes() == content


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"thesis\.txt"):
        create_or_open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_place_of_the_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("mine")
    with pytest.raises(DatasetError, match="is a file"):
        create_or_open(tmp_path / "set")
    assert (tmp_path / "set").read_text() == "mine"


def test_no_dataset_is_an_error_that_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="actionparty record"):
        open_dataset(tmp_path / "none")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    for path in (tmp_path / "empty", tmp_path / "none", tmp_path / "foreign"):
        with pytest.raises(DatasetError, match="no dataset"):
            verify(path)


def test_an_empty_dataset_is_whole(tmp_path: Path) -> None:
    create_or_open(tmp_path / "set")
    assert verify(tmp_path / "set") == []
    assert list(load_episodes(tmp_path / "set")) == []
