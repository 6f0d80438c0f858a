"""Packed datasets: lossless, in parts, and clear about what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.training.samples import play, renamed

from actionparty.data.clips import WorldClips
from actionparty.data.dataset import ForeignDatasetError
from actionparty.data.files import seal
from actionparty.data.packed import (
    INDEX,
    changes,
    inspect_packed,
    is_packed,
    load_packed,
    packed_worlds,
    rebuild,
    verify_packed,
    write_packed,
)
from actionparty.data.tables import WorldTable
from actionparty.errors import DatasetError, InvalidInputError, UnknownNameError


@pytest.fixture(scope="module")
def tables() -> list[WorldTable]:
    first = WorldTable.of([play(40, 1), play(25, 2)])
    second = WorldTable.of([renamed(play(30, 3, subjects=3, size=(7, 9)), "arena_large")])
    return [first, second]


def assert_same(a: WorldTable, b: WorldTable) -> None:
    assert a.spec == b.spec
    for field in fields(WorldTable):
        if field.name != "spec":
            one, two = getattr(a, field.name), getattr(b, field.name)
            assert one.dtype == two.dtype, field.name
            np.testing.assert_array_equal(one, two, err_msg=field.name)


def test_packing_loses_nothing(tables: list[WorldTable], tmp_path: Path) -> None:
    parts = write_packed(iter(tables), tmp_path / "packed")
    assert len(parts) == 1
    assert is_packed(tmp_path / "packed")
    assert packed_worlds(tmp_path / "packed") == {"arena": 65, "arena_large": 30}
    for made, loaded in zip(tables, load_packed(tmp_path / "packed"), strict=True):
        assert_same(made, loaded)
    only = list(load_packed(tmp_path / "packed", ["arena_large"]))
    assert [table.spec.name for table in only] == ["arena_large"]


def test_the_table_shows_the_very_frames_and_states_that_were_recorded() -> None:
    episodes = [play(12, 1), play(9, 2)]
    table = WorldTable.of(episodes)
    frames = np.concatenate([e.frames(0, len(e)) for e in episodes])
    h, w = table.spec.grid
    drawn = table.tiles[table.grid].reshape(-1, h, w, 8, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(frames.shape)
    np.testing.assert_array_equal(drawn, frames)
    np.testing.assert_array_equal(table.position, np.concatenate([e.states.position for e in episodes]))
    assert table.first.tolist() == [0] * 12 + [12] * 9
    assert (table.age[[0, 12]] == 0).all()
    assert (table.age[11] == 11).all()  # nobody dies in the arena


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_grid_is_rebuilt_from_its_changes(rows: int, cells: int, seed: int) -> None:
    grid = np.random.default_rng(seed).integers(0, 3, (rows, cells)).astype(np.int32)
    found = changes(grid)
    rebuilt = rebuild(found["change_count"], found["change_cell"], found["change_tile"], cells)
    np.testing.assert_array_equal(rebuilt, grid)
    assert int(found["change_count"].sum()) == cells + int((grid[1:] != grid[:-1]).sum())


def test_clips_of_a_packed_table_are_those_of_its_episodes(tables: list[WorldTable], tmp_path: Path) -> None:
    write_packed(iter(tables), tmp_path / "packed")
    packed = WorldClips(next(load_packed(tmp_path / "packed", ["arena"])))
    direct = WorldClips([play(40, 1), play(25, 2)])
    rows = direct.targets[::7]
    a, b = packed.at(rows, 2, 8), direct.at(rows, 2, 8)
    for name, value in vars(a).items():
        if name != "world":
            assert (value == getattr(b, name)).all(), name


def test_parts_stay_under_their_size(tables: list[WorldTable], tmp_path: Path) -> None:
    whole = write_packed(iter(tables), tmp_path / "one")[0]["bytes"]
    parts = write_packed(iter(tables), tmp_path / "two", part_bytes=whole - 1)
    assert [list(part["worlds"]) for part in parts] == [["arena"], ["arena_large"]]
    assert [table.spec.name for table in load_packed(tmp_path / "two")] == ["arena", "arena_large"]
    with pytest.raises(DatasetError, match="MB packed"):
        write_packed(iter(tables), tmp_path / "none", part_bytes=100)


def test_what_is_wrong_is_said(tables: list[WorldTable], tmp_path: Path) -> None:
    write_packed(iter(tables), tmp_path / "packed")
    with pytest.raises(InvalidInputError, match="not empty"):
        write_packed(iter(tables), tmp_path / "packed")
    with pytest.raises(UnknownNameError, match="arena_large"):
        list(load_packed(tmp_path / "packed", ["arena_lage"]))
    part = tmp_path / "packed" / "part-000.zip"
    content = part.read_bytes()
    part.write_bytes(content[:-50])
    with pytest.raises(DatasetError, match="damaged"):
        list(load_packed(tmp_path / "packed"))
    part.unlink()
    with pytest.raises(DatasetError, match="missing"):
        list(load_packed(tmp_path / "packed"))
    index = tmp_path / "packed" / INDEX
    index.write_text(index.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(DatasetError, match="can't be read"):
        packed_worlds(tmp_path / "packed")


def test_worlds_of_different_kinds_do_not_mix() -> None:
    with pytest.raises(DatasetError, match="different folders"):
        WorldTable.of([play(9, 1), replace(renamed(play(9, 1, subjects=3), "arena"))])


def test_an_interrupted_pack_leaves_no_half_folder(tables: list[WorldTable], tmp_path: Path) -> None:
    def broken() -> Iterator[WorldTable]:
        yield tables[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_packed(broken(), tmp_path / "packed")
    assert not (tmp_path / "packed").exists()
    write_packed(iter(tables), tmp_path / "packed")
    assert len(packed_worlds(tmp_path / "packed")) == 2


def test_verify_names_every_part_that_is_not_as_written(tables: list[WorldTable], tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    write_packed(iter(tables), packed, part_bytes=9_000)
    assert verify_packed(packed) == []
    first, second = packed / "part-000.zip", packed / "part-001.zip"
    content = first.read_bytes()
    first.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    second.unlink()
    (packed / "part-002.zip").write_bytes(b"?")
    problems = verify_packed(packed)
    assert [f"part-00{i}.zip" in problem for i, problem in enumerate(problems)] == [True] * 3
    assert ["damaged" in problems[0], "missing" in problems[1], "not part" in problems[2]] == [True] * 3


def test_verify_tells_a_damaged_index_from_another_version(tables: list[WorldTable], tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    write_packed(iter(tables), packed)
    (packed / INDEX).write_bytes(seal({"format": 99, "parts": []}, indent=2))
    with pytest.raises(ForeignDatasetError, match="99"):
        verify_packed(packed)
    (packed / INDEX).write_bytes(b"{")
    assert [INDEX in problem for problem in verify_packed(packed)] == [True]


def test_a_packed_dataset_is_summarised_from_its_index(tables: list[WorldTable], tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    write_packed(iter(tables), packed, part_bytes=9_000)
    summary = inspect_packed(packed)
    assert [(w.spec, w.rows, w.part) for w in summary.worlds] == [
        (tables[0].spec, 65, "part-000.zip"),
        (tables[1].spec, 30, "part-001.zip"),
    ]
    assert (summary.rows, summary.damaged) == (95, ())
    assert summary.bytes == sum(path.stat().st_size for path in packed.glob("part-*"))
    (packed / "part-001.zip").unlink()
    (packed / "part-000.zip").write_bytes(b"")
    damaged = inspect_packed(packed).damaged
    assert ["part-000.zip" in damaged[0], "part-001.zip" in damaged[1], len(damaged)] == [True, True, 2]
