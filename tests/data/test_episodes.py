from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.data.fakes import FakeWorld, NoisyWorld, episode, same

from actionparty.data.episodes import META, frame_bytes, read_episode, write_episode
from actionparty.data.shards import PARTS, shard_path
from actionparty.errors import DatasetError
from actionparty.types import Episode


def raw_episode() -> Episode:
    made = episode(NoisyWorld("noisy", grid=(20, 20)), 12)
    assert made.frames_raw is not None
    return made


@pytest.mark.parametrize("rows", [1, 2, 57])
@pytest.mark.parametrize("subjects", [1, 3, 64])
def test_round_trip(tmp_path: Path, rows: int, subjects: int) -> None:
    made = episode(FakeWorld("fake", subjects, length=56), rows, seed=1_000_003)
    written = write_episode(tmp_path / "a", made)
    assert made.ended == (rows == 57)
    assert same(read_episode(tmp_path / "a"), made)
    assert same(read_episode(tmp_path / "a", written), made)


def test_round_trip_of_raw_frames(tmp_path: Path) -> None:
    made = raw_episode()
    write_episode(tmp_path / "a", made)
    read = read_episode(tmp_path / "a")
    assert read.frames_raw is not None
    assert same(read, made)
    png = pd.read_parquet(shard_path(tmp_path / "a", "steps"))["frame"][3]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), made.frames()[3])


def test_positions_between_cells_and_negative_rewards_are_exact(tmp_path: Path) -> None:
    made = episode(FakeWorld("fake", 2), 5)
    made.states.position[:] = np.random.default_rng(0).normal(size=made.states.position.shape)
    made.rewards[:] = [-0.1, np.inf]
    write_episode(tmp_path / "a", made)
    assert same(read_episode(tmp_path / "a"), made)


def test_pandas_reads_it_without_us(tmp_path: Path) -> None:
    made = episode(FakeWorld("fake", 3), 9)
    write_episode(tmp_path / "a", made)
    steps = pd.read_parquet(tmp_path / "a.steps.parquet")
    tiles = pd.read_parquet(tmp_path / "a.tiles.parquet")
    assert list(steps.columns) == [*("step", "grid", "position_x", "position_y", "facing", "alive", "action", "reward")]
    assert steps["step"].tolist() == list(range(9))
    assert np.array_equal(np.stack(steps["grid"].tolist()), made.grid.reshape(9, -1))
    assert np.array_equal(np.stack(steps["position_y"].tolist()), made.states.position[..., 1])
    assert np.array_equal(np.stack(steps["alive"].tolist()), made.states.alive)
    assert np.array_equal(np.stack(steps["action"].tolist()), made.actions)
    assert np.array_equal(np.stack(tiles["pixels"].tolist()), made.tiles.reshape(-1, 192))
    types = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "a.steps.parquet")}
    assert "uint16" in types["grid"]
    assert "int8" in types["facing"]
    assert "float" in types["reward"]


def test_metadata_say_what_the_columns_do_not(tmp_path: Path) -> None:
    write_episode(tmp_path / "a", episode(FakeWorld("fake", 3), 4, seed=5))
    for part in PARTS:
        meta = json.loads(pq.read_schema(shard_path(tmp_path / "a", part)).metadata[META])
        assert meta["world"]["actions"] == ["noop", "forward", "turn_right"]
        assert (meta["seed"], meta["policy"], meta["ended"], meta["version"]) == (5, "any", False, 1)


def test_the_same_episode_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_episode(tmp_path / "a", episode(FakeWorld("fake"), 30, seed=2))
    assert write_episode(tmp_path / "b", episode(FakeWorld("fake"), 30, seed=2)) == first


def test_frame_bytes_are_part_of_the_files(tmp_path: Path) -> None:
    for name, made in (("a", episode(FakeWorld("fake"), 50)), ("b", raw_episode())):
        files = write_episode(tmp_path / name, made)
        assert files["tiles"].bytes < frame_bytes(tmp_path / name) < sum(file.bytes for file in files.values())


@pytest.mark.parametrize("part", PARTS)
def test_any_flipped_byte_is_noticed(tmp_path: Path, part: str) -> None:
    written = write_episode(tmp_path / "a", episode(FakeWorld("fake"), 4))
    path = shard_path(tmp_path / "a", part)
    whole = path.read_bytes()
    for i in range(0, len(whole), 7):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 4]) + whole[i + 1 :])
        with pytest.raises(DatasetError, match=f"{part}.parquet is damaged"):
            read_episode(tmp_path / "a", written)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_truncated_file_is_damaged_even_without_its_checksum(tmp_path: Path, part: str, share: float) -> None:
    write_episode(tmp_path / "a", episode(FakeWorld("fake"), 40))
    path = shard_path(tmp_path / "a", part)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DatasetError, match="damaged"):
        read_episode(tmp_path / "a")


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_file_is_named(tmp_path: Path, part: str) -> None:
    write_episode(tmp_path / "a", episode(FakeWorld("fake"), 4))
    shard_path(tmp_path / "a", part).unlink()
    with pytest.raises(DatasetError, match=rf"a\.{part}\.parquet is missing"):
        read_episode(tmp_path / "a")


def test_another_version_is_refused(tmp_path: Path) -> None:
    write_episode(tmp_path / "a", episode(FakeWorld("fake"), 4))
    path = shard_path(tmp_path / "a", "steps")
    table = pq.read_table(path)
    meta = json.loads(table.schema.metadata[META]) | {"version": 2}
    pq.write_table(table.replace_schema_metadata({META: json.dumps(meta)}), path)
    with pytest.raises(DatasetError, match="version 2"):
        read_episode(tmp_path / "a")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux lists them")
def test_reading_starts_no_threads(tmp_path: Path) -> None:
    """Arrow's pool of threads, once started, aborts one exit in two of a process that has loaded torch too."""
    write_episode(tmp_path / "a", episode(FakeWorld("fake"), 40))
    script = (
        "import sys, pathlib\nfrom actionparty.data.episodes import frame_bytes, read_episode\n"
        "count = lambda: len([*pathlib.Path('/proc/self/task').iterdir()])\nbefore = count()\n"
        "read_episode(pathlib.Path(sys.argv[1]))\nframe_bytes(pathlib.Path(sys.argv[1]))\nprint(count() - before)"
    )
    path = os.pathsep.join(p for p in sys.path if p)
    line = [sys.executable, "-c", script, str(tmp_path / "a")]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path})
    assert done.stdout == "0\n"


def test_a_foreign_parquet_file_is_refused(tmp_path: Path) -> None:
    for part in PARTS:
        pd.DataFrame({"a": [1]}).to_parquet(shard_path(tmp_path / "a", part))
    with pytest.raises(DatasetError, match="damaged"):
        read_episode(tmp_path / "a")


@pytest.mark.parametrize("calls_that_work", [0, 2])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls_that_work: int) -> None:
    calls: list[int] = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > calls_that_work:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DatasetError, match="No space left"):
        write_episode(tmp_path / "a", episode(FakeWorld("fake"), 4))
    assert list(tmp_path.iterdir()) == []
