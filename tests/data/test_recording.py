from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.fakes import DearWorld, FakePolicy, FakeWorld, make_policy, make_reluctant, make_world, same

from actionparty.data import recording
from actionparty.data.dataset import load_episodes, open_dataset, verify
from actionparty.data.files import exclusive
from actionparty.data.inspection import inspect
from actionparty.data.recording import RecordingSummary, missing_shards, record
from actionparty.data.worker import Camera, Task
from actionparty.errors import DatasetError, InvalidInputError, UnknownNameError
from actionparty.types import NO_ACTION, Episode

ROOT = Path(__file__).resolve().parents[2]


def record_fakes(
    out: Path, worlds: list[str], steps: int = 50, workers: int = 2, seed: int = 0, **more: Any
) -> RecordingSummary:
    settings: dict[str, Any] = {"shard_steps": 20, "make_world": make_world, "make_policy": make_policy} | more
    return record(worlds, steps, seed, workers, out, **settings)


def shard_files(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in sorted(path.rglob("*.parquet"))}


def rows(path: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for shard in sorted(open_dataset(path).shards.values(), key=lambda shard: shard.name):
        found.setdefault(shard.name.split("/")[0], []).append(shard.rows)
    return found


# --- the plan


@given(steps=st.integers(1, 300), shard_steps=st.integers(2, 90), data=st.data())
def test_a_plan_reaches_the_wanted_rows_in_any_order(steps: int, shard_steps: int, data: st.DataObject) -> None:
    lengths: dict[int, int] = {}
    done: dict[int, int] = {}
    limits: dict[int, int] = {}
    while missing := missing_shards(steps, shard_steps, done):
        k, limit = data.draw(st.sampled_from(missing))
        assert k not in done
        assert limits.setdefault(k, limit) == limit <= shard_steps
        done[k] = lengths.setdefault(k, data.draw(st.integers(max(1, limit // 2), limit)))
    assert sum(done.values()) == steps
    assert sorted(done) == list(range(len(done)))


def test_a_longer_plan_keeps_what_is_there() -> None:
    assert missing_shards(50, 20, {}) == [(0, 20), (1, 20), (2, 10)]
    assert missing_shards(50, 20, {0: 20, 1: 20, 2: 10}) == []
    assert missing_shards(90, 20, {0: 20, 1: 20, 2: 10}) == [(3, 20), (4, 10)]
    assert missing_shards(40, 20, {0: 20, 1: 7, 9: 20}) == [(2, 13)]


# --- what is recorded


def test_exactly_the_wanted_rows_of_every_world(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    worlds = ["a", "short13", "noisy"]
    summary = record_fakes(tmp_path / "set", worlds, seed=7, progress=lambda *call: seen.append(call))
    assert summary.rows == {"a": 50, "short13": 50, "noisy": 50}
    assert rows(tmp_path / "set")["a"] == [20, 20, 10]
    assert sum(rows(tmp_path / "set")["short13"]) == 50
    assert summary.shards == len(open_dataset(tmp_path / "set").shards)
    assert summary.skipped == {}
    assert verify(tmp_path / "set") == []
    assert {call[0]: call[1:] for call in seen} == {"a": (50, 50), "short13": (50, 50), "noisy": (50, 50)}
    assert sorted(e.seed for e in load_episodes(tmp_path / "set", ["a"])) == [7, 8, 9]


def test_an_episode_is_what_the_world_did(tmp_path: Path) -> None:
    record_fakes(tmp_path / "set", ["a"])
    for episode in load_episodes(tmp_path / "set"):
        world, policy = FakeWorld("a"), FakePolicy()
        observation = world.reset(seed=episode.seed)
        policy.reset(world.spec, episode.seed)
        assert (episode.actions[0] == NO_ACTION).all()
        for t in range(len(episode)):
            if t:
                actions = policy.act(observation)
                observation = world.step(actions)
                assert episode.actions[t].tolist() == actions.tolist()
            assert (episode.frames(t, t + 1)[0] == observation.frame).all()
            assert (episode.states[t].position == observation.states.position).all()
            assert (episode.states[t].alive == observation.states.alive).all()
            assert (episode.rewards[t] == observation.rewards).all()


def test_a_world_that_ends_gives_shorter_episodes(tmp_path: Path) -> None:
    record_fakes(tmp_path / "set", ["short13"], steps=100)
    episodes = list(load_episodes(tmp_path / "set"))
    assert sum(len(e) for e in episodes) == 100
    assert all(e.ended == (len(e) == 14) for e in episodes)
    assert sum(e.ended for e in episodes) >= 6


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    for workers in (1, 3):
        record_fakes(tmp_path / str(workers), ["a", "short13"], workers=workers)
    assert shard_files(tmp_path / "1") == shard_files(tmp_path / "3")


def test_the_arena_repeats_bit_for_bit(tmp_path: Path) -> None:
    for name in ("first", "second"):
        record(["arena"], 120, 5, 2, tmp_path / name, shard_steps=50)
    first = shard_files(tmp_path / "first")
    assert len(first) == 6
    assert first == shard_files(tmp_path / "second")


# --- going on


def test_the_same_call_again_records_nothing(tmp_path: Path) -> None:
    record_fakes(tmp_path / "set", ["a"])
    before = {path: path.read_bytes() for path in (tmp_path / "set").rglob("*") if path.is_file()}
    assert record_fakes(tmp_path / "set", ["a"]).shards == 0
    assert {path: path.read_bytes() for path in (tmp_path / "set").rglob("*") if path.is_file()} == before


def test_other_settings_add_and_never_replace(tmp_path: Path) -> None:
    out = tmp_path / "set"
    record_fakes(out, ["a"])
    first = shard_files(out)
    record_fakes(out, ["a"], steps=80)
    record_fakes(out, ["b"], seed=1_000_000)
    record_fakes(out, ["a"], steps=30, workers=1, policy="other", subjects=5)
    assert first.items() <= shard_files(out).items()
    assert rows(out) == {"a": [20, 20, 10, 20, 10], "b": [20, 20, 10], "a@5": [20, 10]}
    assert verify(out) == []
    assert len(open_dataset(out).info["recordings"]) == 4
    assert [w.world.subjects for w in inspect(out).worlds if w.world.name == "a"] == [2, 5]


def test_a_damaged_shard_is_recorded_again(tmp_path: Path) -> None:
    out = tmp_path / "set"
    record_fakes(out, ["a"])
    before = shard_files(out)
    path = out / "a" / "mixed-0000001.tiles.parquet"
    path.write_bytes(path.read_bytes()[:-7])
    summary = record_fakes(out, ["a"])
    assert (summary.repaired, summary.shards) == (("a/mixed-0000001",), 1)
    assert shard_files(out) == before
    assert verify(out) == []


# --- worlds that fail


def test_a_world_that_fails_is_skipped_and_named(tmp_path: Path) -> None:
    summary = record_fakes(tmp_path / "set", ["broken", "a", "deadly"])
    assert summary.rows == {"broken": 0, "a": 50, "deadly": 0}
    assert summary.skipped["broken"] == "RuntimeError: no such level"
    assert "exit code 7" in summary.skipped["deadly"]
    assert verify(tmp_path / "set") == []


def test_a_world_that_dies_now_and_then_is_recorded_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other shard costs a worker: more than a world may lose in a row. The next one is half as long."""
    monkeypatch.setattr(recording, "MAX_LOSSES", 2)
    graves = tmp_path / "graves"
    graves.mkdir()
    summary = record_fakes(tmp_path / "set", ["a"], 70, workers=1, make_world=partial(make_reluctant, graves))
    assert {grave.name for grave in graves.iterdir()} == {"0", "1", "2", "3", "4", "5"}
    assert summary.skipped == {}
    assert rows(tmp_path / "set") == {"a": [10, 20, 10, 10, 10, 10]}
    assert verify(tmp_path / "set") == []


def test_frames_of_another_size_than_promised_skip_the_world(tmp_path: Path) -> None:
    summary = record_fakes(tmp_path / "set", ["wide", "a"])
    assert "(24, 40, 3), not (24, 32, 3)" in summary.skipped["wide"]
    assert rows(tmp_path / "set") == {"a": [20, 20, 10]}


def test_an_unknown_world_stops_with_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean known"):
        record_fakes(tmp_path / "set", ["unknown"])


def test_unknown_names_of_the_catalogue_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="coins"):
        record(["coin"], 10, 0, 1, tmp_path / "set")
    with pytest.raises(UnknownNameError, match="mixed"):
        record(["arena"], 10, 0, 1, tmp_path / "set", policy="mixd")
    assert not (tmp_path / "set").exists()


def test_a_full_disk_stops_and_leaves_a_whole_dataset(tmp_path: Path) -> None:
    out = tmp_path / "set"
    record_fakes(out, ["a"])
    with pytest.raises(DatasetError, match="could not write"):
        record_fakes(out, ["full"])
    assert verify(out) == []
    assert rows(out) == {"a": [20, 20, 10]}


@pytest.mark.parametrize(
    "change", [{"steps": 0}, {"seed": -1}, {"workers": 0}, {"shard_steps": 1}, {"subjects": 0}, {"subjects": 65}]
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, change: dict[str, int]) -> None:
    arguments = {"steps": 10, "seed": 0, "workers": 1} | change
    with pytest.raises(InvalidInputError, match=next(iter(change))):
        record(["arena"], out=tmp_path / "set", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "set").exists()


def test_seeds_of_training_never_run_into_those_of_evaluation(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="mix training"):
        record_fakes(tmp_path / "set", ["a"], seed=999_998)
    assert not (tmp_path / "set").exists()
    with pytest.raises(InvalidInputError, match="mix training"):
        record_fakes(tmp_path / "set", ["short13"], seed=999_997)
    assert verify(tmp_path / "set") == []
    assert max(e.seed for e in load_episodes(tmp_path / "set")) == 999_999


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(DatasetError, match="not a dataset"):
        record_fakes(tmp_path, ["a"])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_dataset_in_use_is_refused(tmp_path: Path) -> None:
    record_fakes(tmp_path / "set", ["a"])
    with exclusive(tmp_path / "set"), pytest.raises(DatasetError, match="another process"):
        record_fakes(tmp_path / "set", ["b"])


# --- worlds whose reset is dear


def play(camera: Camera, name: str, seed: int, limit: int) -> Episode:
    return camera.record(Task(name, None, "any", seed, limit, Path()), lambda rows: None)


def test_a_world_with_a_dear_reset_goes_on_from_shard_to_shard() -> None:
    worlds: list[DearWorld] = []

    def make(name: str, subjects: int | None) -> DearWorld:
        worlds.append(DearWorld(name, length=60, mortal=False))
        return worlds[-1]

    camera = Camera(make, make_policy)
    first, second, third = (play(camera, "dear", seed, 25) for seed in (0, 1, 2))
    assert [len(e) for e in (first, second, third)] == [25, 25, 25]
    assert (second.frames(0, 1) == first.frames(24, 25)).all()
    assert (second.actions[0] == NO_ACTION).all()
    assert (second.rewards[0] == 0).all()
    assert len(worlds) == 1
    # 12 steps were left: not worth a shard, so the third began anew
    assert not (third.frames(0, 1) == second.frames(24, 25)).all()
    assert worlds[0].resets == 2


def test_a_world_with_a_cheap_reset_begins_anew_each_time() -> None:
    camera = Camera(make_world, make_policy)
    assert same(play(camera, "a", 3, 20), play(Camera(make_world, make_policy), "a", 3, 20))
    again = play(camera, "a", 3, 20)
    assert same(again, play(Camera(make_world, make_policy), "a", 3, 20))
    camera.close()


# --- interruptions

SCRIPT = """
import sys
from pathlib import Path
from actionparty.data.recording import record
from tests.data.fakes import make_policy, make_world
if __name__ == "__main__":
    fakes = {"make_world": make_world, "make_policy": make_policy}
    record(["slow", "short13"], 200, 0, 2, Path(sys.argv[1]), shard_steps=40, **fakes)
"""


def start(tmp_path: Path, out: Path) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, str(script), str(out)]
    return subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_shards(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    manifest = out / "manifest.jsonl"
    while process.poll() is None and not (manifest.exists() and manifest.read_bytes().count(b"\n") >= count):
        time.sleep(0.005)


def everybody_is_gone(group: int, patience: float = 20) -> bool:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_kill_9_at_any_time_loses_no_finished_shard(tmp_path: Path) -> None:
    record_fakes(tmp_path / "whole", ["slow", "short13"], steps=200, shard_steps=40)
    out = tmp_path / "set"
    for shards in (0, 2, 9):
        process = start(tmp_path, out)
        wait_for_shards(out, shards, process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert everybody_is_gone(process.pid), "workers outlive the recorder"
        if shards:
            kept = [shard.name for shard in open_dataset(out).shards.values()]
            assert len(kept) >= shards
            assert len(list(load_episodes(out, on_damage="raise"))) == len(kept)
    process = start(tmp_path, out)
    assert process.communicate()[1] == ""
    assert process.returncode == 0
    assert verify(out) == []
    assert shard_files(out) == shard_files(tmp_path / "whole")


def test_ctrl_c_stops_cleanly_and_the_same_call_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "set"
    process = start(tmp_path, out)
    wait_for_shards(out, 4, process)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.count("Traceback") == 1, "only the recorder itself hears Ctrl-C"
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert everybody_is_gone(process.pid)
    assert verify(out) == []
    kept = set(open_dataset(out).shards)
    assert len(kept) >= 4
    process = start(tmp_path, out)
    process.communicate()
    assert process.returncode == 0
    assert kept < set(open_dataset(out).shards)
    assert sum(shard.rows for shard in open_dataset(out).shards.values()) == 400
    assert verify(out) == []
