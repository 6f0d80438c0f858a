"""Worlds of users on the command line, from the recording to a model that was trained on it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.interfaces.calls import complaint, run
from tests.worlds import toy_env

from actionparty.data.dataset import load_episodes, open_dataset, verify
from actionparty.types import Episode
from actionparty.worlds.factory import WorldFactory

ROOT = Path(__file__).resolve().parents[2]
TOY = "tests.worlds.toy_env"


def record(out: Path, factory: str = f"{TOY}:make_world", *options: object, code: int = 0) -> dict[str, object]:
    said = run("record", "--env", factory, "--out", out, "--workers", 1, "--json", *options, code=code)
    assert isinstance(said, dict)
    return said


def recorded(path: Path) -> Episode:
    (episode,) = load_episodes(path, on_damage="raise")
    return episode


def test_what_is_recorded_is_what_the_environment_rendered(tmp_path: Path) -> None:
    said = record(tmp_path / "set", f"{TOY}:make_world", "--steps", 30, "--seed", 3)
    assert said["rows"] == {"toy-3": 30}
    episodes = list(load_episodes(tmp_path / "set", on_damage="raise"))
    assert sum(map(len, episodes)) == 30
    assert [episode.seed for episode in episodes] == list(range(3, 3 + len(episodes)))
    for episode in episodes:
        assert_as_rendered(episode)
    assert any(not episode.states.alive.all() for episode in episodes)
    assert verify(tmp_path / "set") == []


def assert_as_rendered(episode: Episode) -> None:
    """Play the environment itself again, with the same seed and actions, and compare row by row."""
    env = toy_env.ToyEnv(length=40)
    env.reset(seed=episode.seed)
    rewards = dict.fromkeys(env.agents, 0.0)
    for t, frame in enumerate(episode.frames()):
        if t:
            taken = dict(zip(env.possible_agents, episode.actions[t].tolist(), strict=True))
            rewards = env.step({agent: taken[agent] for agent in env.agents})[1]
        assert np.array_equal(frame, env.render())
        for i, agent in enumerate(env.possible_agents):
            assert episode.rewards[t, i] == rewards.get(agent, 0.0)
            assert episode.states.alive[t, i] == (agent in env.agents)
            assert agent not in env.agents or episode.states.position[t, i].tolist() == [i, env.row[agent]]
    assert episode.ended == (not env.agents)


def test_the_same_command_goes_on_and_repeats_itself_bit_for_bit(tmp_path: Path) -> None:
    for name, steps in (("a", 10), ("b", 25), ("a", 25)):
        record(tmp_path / name, f"{TOY}:make_world", "--steps", steps, "--shard-steps", 10)
    shards = [{name: shard.files for name, shard in open_dataset(tmp_path / n).shards.items()} for n in "ab"]
    assert shards[0] == shards[1]
    assert sum(shard.rows for shard in open_dataset(tmp_path / "a").shards.values()) == 25


def test_a_user_in_another_folder_names_a_file_there(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text((ROOT / "tests" / "worlds" / "toy_env.py").read_text())
    command = [sys.executable, "-m", "actionparty", "record", "--env", "mine:make_world", "--out", "set"]
    done = subprocess.run(
        [*command, "--steps", "5", "--workers", "1", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == {"toy-3": 5}


def test_worlds_tries_a_world_and_shows_it() -> None:
    (told,) = run("worlds", "--env", f"{TOY}:make_world", "--json")
    assert (told["name"], told["subjects"], told["grid"]) == ("toy-3", 3, [4, 5])
    assert told["actions"] == list(toy_env.ACTIONS)
    assert told["available"]
    assert told["env"] == f"{TOY}:make_world"
    told = run("worlds", "--env", f"{TOY}:make_world")
    assert f"toy-3 is the world that {TOY}:make_world makes" in told
    assert f"record --env {TOY}:make_world" in told
    assert "*" not in told, "no star, nothing to explain"
    assert "one of the two" in complaint("worlds", "arena", "--env", f"{TOY}:make_world")


TROUBLE = {
    "make_world": "names no function",
    f"{TOY}:": "names no function",
    "no.such.module:make": "can't be imported from",
    "tests.worlds.broken_module:make": "ModuleNotFoundError: No module named 'no_such_package_anywhere'",
    f"{TOY}:make_wurld": "Did you mean make_world",
    f"{TOY}:NOT_A_FUNCTION": "unknown function",
    f"{TOY}:make_trouble": "failed: RuntimeError: the licence server is down",
    f"{TOY}:make_bare": "made a ToyEnv, which is no World",
    f"{TOY}:make_named_badly": "'my world/1' is no name for a world",
    f"{TOY}:make_arena": "arena is the name of a world that comes with ActionParty",
}


@pytest.mark.parametrize("factory", TROUBLE)
def test_a_world_that_cannot_be_made_leaves_no_dataset(tmp_path: Path, factory: str) -> None:
    said = complaint("record", "--env", factory, "--out", tmp_path / "set")
    assert TROUBLE[factory] in said
    assert not (tmp_path / "set").exists()


def test_a_number_of_subjects_that_the_function_does_not_take_is_told(tmp_path: Path) -> None:
    said = complaint("record", "--env", f"{TOY}:make_world", "--subjects", 2, "--out", tmp_path / "set")
    assert "unexpected keyword argument 'subjects'" in said


def test_another_world_of_the_same_name_is_kept_out(tmp_path: Path) -> None:
    record(tmp_path / "set", f"{TOY}:make_world", "--steps", 4)
    before = {file: file.read_bytes() for file in (tmp_path / "set").rglob("*") if file.is_file()}
    said = complaint("record", "--env", f"{TOY}:make_longer", "--steps", 9, "--out", tmp_path / "set")
    assert "has another toy-3" in said
    assert before == {file: file.read_bytes() for file in (tmp_path / "set").rglob("*") if file.is_file()}


def test_only_one_way_to_say_what_is_recorded(tmp_path: Path) -> None:
    for line in (["arena", "--env", f"{TOY}:make_world"], ["--suite", "all", "--env", f"{TOY}:make_world"], []):
        assert "one of them" in complaint("record", *line, "--out", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_factory_makes_the_world_that_was_asked_for() -> None:
    factory = WorldFactory(f"{TOY}:make_world", str(ROOT))
    assert factory("toy-3", None).spec == factory.tried()
    with pytest.raises(Exception, match="made toy-3 now and other before"):
        factory("other", None)


def test_robots_in_a_warehouse_are_recorded_learned_measured_and_generated(tmp_path: Path) -> None:
    pytest.importorskip("rware")
    warehouse = "examples.warehouse:tiny"
    record(tmp_path / "set", warehouse, "--steps", 60)
    record(tmp_path / "test", warehouse, "--steps", 40, "--seed", 1_000_000)
    episode = recorded(tmp_path / "set")
    assert episode.frames_raw is None
    assert episode.states.alive.all()
    moved = np.abs(np.diff(episode.states.position, axis=0)).sum(-1)
    assert set(np.unique(moved)) == {0, 1}
    assert np.isin(episode.actions[1:][moved == 1], episode.world.action_index("forward")).all()
    assert "rware-tiny-2ag" in run("inspect", tmp_path / "set")
    options = ("--world", "rware-tiny-2ag", "--size", "tiny", "--frames", 16, "--batch", 8)
    run("train", tmp_path / "set", "--out", tmp_path / "run", *options, "--json")
    measured = run(
        *("evaluate", tmp_path / "run", "--data", tmp_path / "test", "--rollouts", 1, "--horizon", 4, "--json")
    )
    assert "rware-tiny-2ag" in json.dumps(measured)
    assert "rware-tiny-2ag" in complaint("evaluate", tmp_path / "run", "--rollouts", 1)
    generated = ("rollout", "rware-tiny-2ag", "--checkpoint", tmp_path / "run", "--data", tmp_path / "test")
    assert run(*generated, "--steps", 2, "--out", tmp_path / "out", "--json")["world"] == "rware-tiny-2ag"


def test_particles_are_where_the_picture_shows_them(tmp_path: Path) -> None:
    pytest.importorskip("mpe2")
    record(tmp_path / "set", "examples.particles:tag", "--steps", 20)
    episode = recorded(tmp_path / "set")
    place, pixels = episode.states.position, episode.frames().astype(int)
    row, subject = np.nonzero(episode.states.alive)
    x, y = np.floor((place[row, subject] + 0.5) * 8).astype(int).T
    red, green, blue = np.moveaxis(pixels[row, y, x], -1, 0)
    reddish, greenish = red - np.maximum(green, blue) > 60, green - np.maximum(red, blue) > 60
    covered = np.maximum(np.maximum(red, green), blue) < 60  # an obstacle is drawn over it
    covered |= (subject < 3) & greenish  # so is the one who is chased, who comes last
    assert (np.where(subject < 3, reddish, greenish) | covered).all()
    assert np.where(subject < 3, reddish, greenish).mean() > 0.9
    assert (place != np.rint(place)).mean() > 0.9
