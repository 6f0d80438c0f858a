"""The way through, as the help tells it: record, inspect, verify, train, rollout, evaluate, all with real files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.interfaces.calls import complaint, run
from tests.ports import free_port

from actionparty.checkpoints import EXPERIMENTAL_BELOW, fingerprint, is_experimental, quality
from actionparty.data.dataset import open_dataset
from actionparty.data.episodes import read_episode
from actionparty.data.recording import RecordingSummary
from actionparty.interfaces import commands_record
from actionparty.interfaces.commands_demo import free_folder
from actionparty.interfaces.commands_evaluate import HELD_OUT
from actionparty.interfaces.commands_rollout import read_actions
from actionparty.interfaces.commands_train import saved_at
from actionparty.rollout.scenes import save_scene
from actionparty.training.checkpoint import load_tensors, save_tensors
from actionparty.training.log import TrainingLog
from actionparty.types import WorldSpec
from actionparty.worlds.catalogue import world_names

SPEC = WorldSpec("game", 2, (3, 3), ("noop", "forward"))


@dataclass(frozen=True)
class Place:
    """Recorded datasets and a run trained on the first."""

    data: Path
    """Episodes for training and for evaluation"""
    held_out: Path
    """Episodes for evaluation only"""
    run: Path
    recorded: dict[str, Any]
    trained: dict[str, Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("way")
    data, trained = folder / "data", folder / "run"
    recorded = run("record", "arena", "--out", data, "--steps", 60, "--shard-steps", 30, "--workers", 1, "--json")
    held_out = ("--shard-steps", 20, "--seed", 1_000_000, "--workers", 1)
    run("record", "arena", "--out", data, "--steps", 40, *held_out)
    run("record", "arena", "--out", folder / "held-out", "--steps", 40, *held_out)
    summary = run("train", data, "--out", trained, "--size", "tiny", "--frames", 8, "--batch", 4, "--json")
    return Place(data, folder / "held-out", trained, recorded, summary)


def test_worlds_are_listed_for_programs() -> None:
    listed = run("worlds", "--json")
    assert [world["name"] for world in listed] == world_names()
    for world in listed:
        assert set(world) == {"name", "subjects", "grid", "actions", "weights", "scenes", "available", "experimental"}
        assert isinstance(world["available"], bool)
        assert len(world["grid"]) == 2


def test_worlds_are_listed_for_people() -> None:
    assert "clean_up" in run("worlds")
    assert "fire_clean" in run("worlds", "clean_up")
    assert "coins" in complaint("worlds", "coin")
    assert "actions of coins: noop, forward" in run("worlds", "coins")


def test_a_star_is_explained_where_there_is_one_and_looks_as_low_as_it_is() -> None:
    assert "*" not in run("worlds", "coins", "arena")
    for line in run("worlds").splitlines():
        if line.strip().endswith(" *"):
            assert float(line.split()[-2]) < EXPERIMENTAL_BELOW, line
    starred = [world["name"] for world in run("worlds", "--json") if world["experimental"]]
    told = run("worlds", starred[0])
    assert "* experimental" in told
    assert f"below {EXPERIMENTAL_BELOW}" in told


def test_record_says_what_it_added_and_adds_only_what_is_missing(place: Place) -> None:
    assert place.recorded["rows"] == {"arena": 60}
    assert place.recorded["shards"] == 2
    again = run("record", "arena", "--out", place.data, "--steps", 60, "--shard-steps", 30, "--workers", 1, "--json")
    assert again["rows"] == {"arena": 0}


def test_record_of_an_unknown_world_leaves_nothing_behind(tmp_path: Path) -> None:
    assert "Did you mean arena" in complaint("record", "arenaa", "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_inspect_counts_and_draws(place: Place, tmp_path: Path) -> None:
    found = run("inspect", place.data, "--filmstrips", tmp_path / "strips", "--json")
    assert found["steps"] == 100
    assert found["episodes"] == 4
    assert (tmp_path / "strips" / "arena.png").stat().st_size > 0
    assert "forward" in run("inspect", place.data)


def test_verify_is_silent_about_a_whole_dataset_and_names_what_is_damaged(place: Place, tmp_path: Path) -> None:
    assert run("verify", place.data, "--json")["ok"]
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", place.data, copy], check=True)
    victim = next(copy.rglob("*.steps.parquet"))
    victim.write_bytes(victim.read_bytes()[:-100])
    found = run("verify", copy, "--json", code=1)
    assert not found["ok"]
    assert any(victim.name in problem for problem in found["problems"])
    assert victim.name in run("verify", copy, code=1)


def test_verify_tells_another_version_from_damage(place: Place, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", place.data, copy], check=True)
    info = copy / "info.json"
    whole = info.read_text()
    info.write_text(json.dumps(json.loads(whole) | {"version": 2}))
    assert "version 2" in complaint("verify", copy)
    assert "version 2" in complaint("verify", copy, "--json")
    info.write_text(whole[:-20])
    assert info.name in run("verify", copy, code=1)
    assert "no dataset" in complaint("verify", tmp_path / "nothing")


def test_train_reports_and_leaves_evaluation_episodes_out(place: Place) -> None:
    assert place.trained["frames"] == 8
    assert place.trained["worlds"] == ["arena"]
    about = json.loads((place.run / "weights" / "config.json").read_text())["about"]
    assert about["worlds"]["arena"]["recorded_frames"] == 60


def test_train_refuses_what_it_cannot_do(place: Place, tmp_path: Path) -> None:
    assert "--resume" in complaint("train", place.data, "--out", place.run)
    assert "small" in complaint("train", place.data, "--out", tmp_path / "a", "--size", "smal")
    assert "arena" in complaint("train", place.data, "--out", tmp_path / "a", "--world", "arenas")
    assert "no episodes to train on" in complaint("train", place.held_out, "--out", tmp_path / "a")


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no pictures of training, unlike ``place``: one takes longer than these runs."""
    monkeypatch.setattr(TrainingLog, "plot", lambda log: None)


@pytest.mark.usefixtures("no_curves")
def test_resume_keeps_the_recipe_and_continues(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run("train", place.data, "--out", out, "--size", "tiny", "--frames", 4, "--batch", 4, "--learning-rate", 0.001)
    resumed = run("train", place.data, "--out", out, "--resume", "--frames", 8, "--json")
    recipe = json.loads((out / "run.json").read_text())
    assert resumed["frames"] == 8
    assert (recipe["train"]["batch"], recipe["train"]["learning_rate"], recipe["model"]["width"]) == (4, 0.001, 32)
    assert "--config" in complaint("train", place.data, "--out", out, "--resume", "--config", out / "run.json")


@pytest.mark.usefixtures("no_curves")
def test_a_recipe_can_be_trained_again(place: Place, tmp_path: Path) -> None:
    again = run("train", place.data, "--out", tmp_path / "b", "--config", place.run / "run.json", "--json")
    assert again == {**place.trained, "out": str(tmp_path / "b")} | {
        key: again[key] for key in ("seconds", "frames_per_second")
    }


def test_interrupted_training_says_what_is_saved_and_exits_with_130(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "run"
    line = ["train", place.data, "--out", out, "--size", "tiny", "--batch", "2", "--frames", "1000000"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-m", "actionparty.interfaces.cli", *map(str, line)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stderr is not None
    with process, process.stderr:
        assert "parameters" in process.stderr.readline()
        log = out / "log.csv"
        while process.poll() is None and not (log.exists() and len(log.read_text().splitlines()) > 1):
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        words = process.stderr.read()
        assert process.wait() == 130
    assert "--resume" in words
    assert "Traceback" not in words
    assert f"{saved_at(out):,} frames are saved" in words


def test_the_same_scene_seed_and_actions_give_the_same_frames(place: Place, tmp_path: Path) -> None:
    line = ("rollout", "arena", "--checkpoint", place.run, "--data", place.data)
    first = run(*line, "--steps", 6, "--seed", 3, "--out", tmp_path / "a", "--json")
    run(*line, "--seed", 3, "--actions", tmp_path / "a" / "rollout.json", "--out", tmp_path / "b")
    one, two = (read_episode(tmp_path / name / "episode") for name in ("a", "b"))
    assert 1 <= first["frames"] <= 6, "a model that has hardly learnt may end the episode early"
    assert len(one) == first["frames"] + 1
    assert np.array_equal(one.frames(), two.frames())
    assert np.array_equal(one.actions, two.actions)
    start = read_episode_of(place.data).scene(3, 2, 4)
    assert np.array_equal(one.frames(0, 1)[0], start.frames[-1])
    assert {"film.mp4", "filmstrip.png", "scene.npz"} <= {path.name for path in (tmp_path / "a").iterdir()}


def read_episode_of(data: Path) -> Any:
    dataset = open_dataset(data)
    return dataset.read(next(iter(dataset.shards.values())))


def test_without_pyav_the_film_is_a_gif(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    line = ("rollout", "arena", "--checkpoint", place.run, "--data", place.data, "--steps", 2)
    run(*line, "--out", tmp_path / "a")
    assert (tmp_path / "a" / "film.gif").read_bytes()[:3] == b"GIF"


def test_a_scene_of_another_world_is_refused(place: Place, tmp_path: Path) -> None:
    save_scene(tmp_path / "scene.npz", read_episode_of(place.data).scene(3, 2, 4))
    line = ("rollout", "coins", "--checkpoint", place.run, "--scene", tmp_path / "scene.npz")
    assert "one of arena, not of coins" in complaint(*line, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_recording_nothing_at_all_is_wrong_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rows, code in (({"coins": 0}, 2), ({"coins": 0, "arena": 10}, 1)):
        found = RecordingSummary(tmp_path, rows, 0, {"coins": "no room for so many"}, (), 1.0)
        monkeypatch.setattr(commands_record, "record_with_bars", lambda *_, found=found: found)
        assert "no room" in run("record", *rows, "--out", tmp_path / "new", code=code)


def test_recording_what_is_there_says_so_once(tmp_path: Path) -> None:
    line = ("record", "arena", "--out", tmp_path / "set", "--workers", 1, "--steps")
    assert "20 rows in 1 shard, " in run(*line, 20)
    assert run(*line, 20).splitlines() == [
        f"Nothing to record: {tmp_path / 'set'} has these 20 rows of arena already. More come with a larger --steps."
    ]
    assert "10 rows in 1 shard, " in run(*line, 30)


def test_of_two_worlds_the_one_that_lacks_nothing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = RecordingSummary(tmp_path, {"coins": 0, "arena": 10}, 2, {}, (), 1.0)
    monkeypatch.setattr(commands_record, "record_with_bars", lambda *_: found)
    told = run("record", "coins", "arena", "--steps", 10, "--out", tmp_path / "new")
    row = next(line for line in told.splitlines() if "coins" in line)
    assert row.split() == ["coins", "0", "nothing", "was", "missing"]
    assert "10 rows in 2 shards" in told
    nothing = RecordingSummary(tmp_path, {"coins": 0, "arena": 0}, 0, {}, (), 1.0)
    monkeypatch.setattr(commands_record, "record_with_bars", lambda *_: nothing)
    assert "these 20 rows of 2 worlds" in run("record", "coins", "arena", "--steps", 10, "--out", tmp_path / "new")


@pytest.mark.parametrize("command", ["evaluate", "rollout", "bench", "demo", "play", "mcp"])
def test_weights_that_lack_a_world_name_those_that_have_it(tmp_path: Path, command: str) -> None:
    lines = {
        "evaluate": ("starter", "--world", "clean_up"),
        "rollout": ("clean_up", "--checkpoint", "starter", "--out", tmp_path / "new"),
        "bench": ("clean_up", "--checkpoint", "starter"),
        "demo": ("--world", "coins", "--world", "clean_up", "--checkpoint", "starter", "--out", tmp_path / "new"),
        "play": ("--checkpoint", "starter", "--world", "clean_up", "--no-browser", "--port", free_port()),
        "mcp": ("--checkpoint", "starter", "--world", "clean_up"),
    }
    said = complaint(command, *lines[command])
    assert "the weights 'starter' lack the world 'clean_up'; the shipped weights 'all' have it: " in said
    assert ("evaluate all --world clean_up" if command == "evaluate" else "--checkpoint all") in said
    assert not (tmp_path / "new").exists()


def test_a_world_that_no_weights_have_is_unknown(tmp_path: Path) -> None:
    line = ("--checkpoint", "starter", "--out", tmp_path / "new")
    assert "unknown world of the weights 'starter': 'coinz'. Did you mean coins?" in complaint(
        "rollout", "coinz", *line
    )
    assert "Did you mean clean_up" in complaint("play", "--world", "clean_upp", "--no-browser", "--port", free_port())


def test_a_saved_scene_starts_a_rollout(place: Place, tmp_path: Path) -> None:
    line = ("rollout", "arena", "--checkpoint", place.run, "--steps", 2, "--policy", "random")
    run(*line, "--data", place.data, "--out", tmp_path / "a")
    run(*line, "--scene", tmp_path / "a" / "scene.npz", "--out", tmp_path / "b")
    one, two = (read_episode(tmp_path / name / "episode") for name in ("a", "b"))
    assert np.array_equal(one.frames(), two.frames())


def test_rollout_refuses_what_it_cannot_do(place: Place, tmp_path: Path) -> None:
    line = ("rollout", "arena", "--checkpoint", place.run, "--out", tmp_path / "new")
    assert "exists" in complaint(*line[:-1], place.data)
    assert "no episode number 99" in complaint(*line, "--data", place.data, "--scene", 99)
    assert "number of an episode" in complaint(*line, "--data", place.data, "--scene", "x")
    assert "random" in complaint(*line, "--data", place.data, "--policy", "randon")
    actions = tmp_path / "actions.json"
    actions.write_text(json.dumps([["forward"] * 4, ["forward"] * 3]))
    assert "step 1 has 3 actions" in complaint(*line, "--data", place.data, "--actions", actions)
    assert not (tmp_path / "new").exists()
    assert "checkpoint" in complaint("rollout", "arena", "--checkpoint", "nothing", "--out", tmp_path / "new")


@pytest.mark.parametrize("text", ["", "{}", "[]", "[1]", '{"actions": 3}', '[["noop"]]', '[["noop", "fly"]]'])
def test_unusable_actions_are_refused(tmp_path: Path, text: str) -> None:
    from actionparty.errors import ActionPartyError

    path = tmp_path / "actions.json"
    path.write_text(text)
    with pytest.raises(ActionPartyError):
        read_actions(path, SPEC)


def test_actions_are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "actions.json"
    path.write_text('{"actions": [["noop", "forward"], ["forward", "forward"]]}')
    assert read_actions(path, SPEC).tolist() == [[0, 1], [1, 1]]


def test_evaluate_prints_the_contract_and_writes_a_report(place: Place, tmp_path: Path) -> None:
    line = ("evaluate", place.run, "--data", place.held_out, "--rollouts", 2, "--horizon", 5)
    found = run(*line, "--json", "--out", tmp_path / "report")
    assert len(found["checkpoint"]) == 64
    assert set(found) == {"checkpoint", "settings", "worlds", "mean", "worst"}
    assert {"subjects", "rollouts", "ma1", "sa1", "detector", "ci95"} <= set(found["worlds"]["arena"])
    assert json.loads((tmp_path / "report" / "report.json").read_text()) == found
    assert "| arena" in (tmp_path / "report" / "report.md").read_text()
    assert run(*line, "--json", "--out", tmp_path / "report") == found
    assert "another evaluation" in complaint(*line, "--seed", 1, "--out", tmp_path / "report")


def test_evaluate_records_what_it_needs_and_keeps_it(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ("evaluate", place.run.resolve(), "--rollouts", 2, "--horizon", 5)
    first = run(*line, "--json")
    assert {shard.seed for shard in open_dataset(HELD_OUT).shards.values()} == {1_000_000, 1_000_001}
    assert run(*line, "--json") == first
    assert "arena" in run(*line)


def test_evaluate_refuses_what_it_cannot_do(place: Place, tmp_path: Path) -> None:
    assert "weights 'all' have it" in complaint("evaluate", place.run, "--world", "coins", "--data", place.held_out)
    assert "rollouts must be" in complaint("evaluate", place.run, "--data", place.held_out, "--rollouts", 0)
    training = tmp_path / "training"
    run("record", "arena", "--out", training, "--steps", 10, "--workers", 1)
    assert "no held-out episode" in complaint("evaluate", place.run, "--data", training)


@pytest.fixture(scope="module")
def box(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that stands alone."""
    out = tmp_path_factory.mktemp("box") / "box"
    found = run(
        *("export", place.run, "--out", out, "--train", place.data, "--held-out", place.held_out),
        *("--scenes", 2, "--episodes", 2, "--json"),
    )
    assert (found["worlds"], found["scenes"], found["held_out"]) == (["arena"], 2, 2)
    return out


def test_an_exported_checkpoint_brings_all_that_rollout_and_evaluate_need(box: Path, tmp_path: Path) -> None:
    found = run("rollout", "arena", "--checkpoint", box, "--scene", 1, "--steps", 2, "--out", tmp_path / "a", "--json")
    assert found["scene"].startswith("arena seed 1000001")
    assert "Did you mean" in complaint("rollout", "aren", "--checkpoint", box, "--out", tmp_path / "b")
    assert "scene" in complaint("rollout", "arena", "--checkpoint", box, "--scene", 7, "--out", tmp_path / "b")
    report = run("evaluate", box, "--rollouts", 2, "--horizon", 3, "--snap", "--json")
    assert report["settings"]["snap"] is True


def test_a_card_says_what_was_measured_and_which_worlds_are_experimental(
    box: Path, place: Place, tmp_path: Path
) -> None:
    shutil.copytree(box, tmp_path / "box")
    report = run("evaluate", box, "--rollouts", 2, "--horizon", 3, "--out", tmp_path / "report", "--json")
    run("card", tmp_path / "box", "--report", tmp_path / "report")
    text = (tmp_path / "box" / "MODEL_CARD.md").read_text()
    found = report["worlds"]["arena"]
    assert quality(tmp_path / "box")["arena"]["ma1"] == found["ma1"]
    assert f"| {found['ma1']:.3f} |" in text
    assert "reward AP" not in text  # nobody is rewarded in its held-out episodes
    assert fingerprint(box)[:12] in text
    weak = found["ma1"] < 0.95
    assert is_experimental(quality(tmp_path / "box")["arena"]) == weak
    assert ("because MA@1 is below 0.95: `arena`" in text) == weak
    assert not is_experimental({"ma1": 0.95})
    assert is_experimental({"ma1": 0.94})
    assert quality(box) == {}
    assert not is_experimental(None)
    assert "Trained from nothing on 8 frames in 0 minutes." in text
    assert "60 frames recorded from the simulators by policies that are not noted here" in text
    line = ("card", tmp_path / "box", "--report", tmp_path / "report")
    run(*line, "--train", place.data)
    known = "from the simulators (60 by the policy `mixed`; in `mixed` each subject is `random` or `seek`)"
    assert known in (tmp_path / "box" / "MODEL_CARD.md").read_text()
    assert f"hold 0 rows of arena, but {tmp_path / 'box'} was trained on 60" in complaint(
        *line, "--train", place.held_out
    )


def test_a_card_shows_rewards_where_a_world_has_any(box: Path, tmp_path: Path) -> None:
    shutil.copytree(box, tmp_path / "box")
    report = run("evaluate", box, "--rollouts", 2, "--horizon", 3, "--out", tmp_path / "report", "--json")
    for row in (report["worlds"]["arena"], report["mean"]):
        row |= {"reward_ap": 0.625, "return_correlation": -0.375, "reward_error": 0.5}
    (tmp_path / "report" / "report.json").write_text(json.dumps(report))
    run("card", tmp_path / "box", "--report", tmp_path / "report")
    text = (tmp_path / "box" / "MODEL_CARD.md").read_text()
    assert "| EA | reward AP | return r | detector |" in text
    assert text.count("| 0.625 | -0.375 |") == 2  # the world and the mean
    assert quality(tmp_path / "box")["arena"]["reward_error"] == 0.5


def test_a_card_is_about_the_weights_that_were_measured(box: Path, tmp_path: Path) -> None:
    shutil.copytree(box, tmp_path / "box")
    run("evaluate", box, "--rollouts", 2, "--horizon", 3, "--out", tmp_path / "report")
    tensors = load_tensors(tmp_path / "box" / "model.safetensors")
    name = next(iter(tensors))
    save_tensors(tmp_path / "box" / "model.safetensors", tensors | {name: tensors[name] + 1})
    assert "measured other weights" in complaint("card", tmp_path / "box", "--report", tmp_path / "report")
    assert "not a report" in complaint("card", tmp_path / "box", "--report", tmp_path / "nothing")
    assert "can't be read" in complaint("card", box, "--report", tmp_path / "report", "--notes", tmp_path / "no.md")
    assert not (tmp_path / "box" / "MODEL_CARD.md").exists()


def test_demo_films_and_lists_what_it_made(box: Path, tmp_path: Path) -> None:
    line = ("demo", "--checkpoint", box, "--steps", 3)
    found = run(*line, "--out", tmp_path / "a", "--no-metrics", "--json")
    assert {Path(path).suffix for path in found["files"]["arena"]} == {".mp4", ".gif", ".png"}
    assert all(Path(path).stat().st_size > 0 for path in found["files"]["arena"])
    assert found["report"] is None
    assert "exists" in complaint(*line, "--out", tmp_path / "a")
    assert "arena.mp4" in run(*line, "--out", tmp_path / "b")


def test_demo_never_writes_over_an_older_one(tmp_path: Path) -> None:
    assert free_folder(tmp_path, "demo") == tmp_path / "demo"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo-2").mkdir()
    assert free_folder(tmp_path, "demo") == tmp_path / "demo-3"
