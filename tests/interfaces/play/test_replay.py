from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.interfaces.play.stage import WORLD, Stage
from typer.testing import CliRunner

from actionparty.checkpoints import fingerprint
from actionparty.config import RolloutConfig
from actionparty.data.episodes import read_episode
from actionparty.errors import CheckpointError, InvalidInputError
from actionparty.interfaces.cli import app
from actionparty.interfaces.play import replay
from actionparty.interfaces.play.replay import Origin, Replay, first_difference, read, ready, write
from actionparty.training.checkpoint import load_network


def origin(folder: Path) -> Origin:
    return Origin(fingerprint(folder), RolloutConfig())


def written(stage: Stage) -> bytes:
    room = stage.room
    assert room.shown is not None
    records = room.history.stretch(room.shown.step)
    return write(room.history.snapshot(records[0].step), records, origin(stage.menu.homes[WORLD]))


def wander(stage: Stage, steps: int) -> None:
    """Play with a person in a seat, policies in the others, and a fork in between."""
    stage.join(1)
    stage.do(1, type="take", subject=1)
    for i in range(steps):
        stage.do(1, type="act", action=("forward", "turn_left", "fire_zap")[i % 3])
        stage.run(1)
    stage.do(1, type="fork", step=steps // 2)
    stage.run(steps)


def test_a_replay_gives_every_frame_again(stage: Stage) -> None:
    wander(stage, 10)
    again = read(written(stage))
    assert len(again.actions) == 15
    rollout = ready(again, load_network(stage.menu.homes[WORLD]), fingerprint(stage.menu.homes[WORLD]))
    frames = [rollout.last().frames[0], *(rollout.step(row[None]).frames[0] for row in again.actions)]
    assert first_difference(again, frames) is None
    assert all(np.array_equal(a, b) for a, b in zip(frames, stage.frames(), strict=True))
    frames[7] = frames[7] ^ 1
    assert first_difference(again, frames) == 7


def test_after_a_thousand_steps_a_replay_starts_with_the_first_that_is_kept(folder: Path) -> None:
    stage = Stage(folder, limit=8)
    stage.join(1)
    stage.run(20)
    again = read(written(stage))
    assert (again.first_step, len(again.actions)) == (12, 8)
    rollout = ready(again, load_network(folder), fingerprint(folder))
    frames = [rollout.last().frames[0], *(rollout.step(row[None]).frames[0] for row in again.actions)]
    assert first_difference(again, frames) is None
    stage.close()


def run(*line: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(part) for part in line], catch_exceptions=False)
    return result.exit_code, result.output


def test_the_command_line_reproduces_what_was_played(stage: Stage, tmp_path: Path) -> None:
    wander(stage, 6)
    path = tmp_path / "played.replay"
    path.write_bytes(written(stage))
    line = ("rollout", "--replay", path, "--checkpoint", stage.menu.homes[WORLD], "--out", tmp_path / "out")
    code, said = run(*line, "--json")
    assert code == 0, said
    recipe = json.loads((tmp_path / "out" / "rollout.json").read_text())
    assert recipe["as_played"] is True
    episode = read_episode(tmp_path / "out" / "episode")
    assert all(np.array_equal(a, b) for a, b in zip(episode.frames(), stage.frames(), strict=True))
    assert (tmp_path / "out" / "film.mp4").exists() or (tmp_path / "out" / "film.gif").exists()
    assert run(*line)[0] == 2


def test_a_replay_that_differs_says_from_where(stage: Stage, tmp_path: Path) -> None:
    wander(stage, 4)
    good = read(written(stage))
    forged = Replay(good.start, good.actions, good.checksums + np.arange(len(good.checksums)) // 3, 0, good.origin)
    path = tmp_path / "played.replay"
    path.write_bytes(replay.to_bytes(forged))
    code, said = run("rollout", "--replay", path, "--checkpoint", stage.menu.homes[WORLD], "--out", tmp_path / "out")
    assert code == 1
    assert "From frame 3 on" in said


def test_what_is_no_replay_is_refused(stage: Stage, tmp_path: Path) -> None:
    wander(stage, 4)
    good = written(stage)
    for damaged in (b"", b"nothing", good[: len(good) // 2], good.replace(b"checksums", b"checksumz")):
        with pytest.raises(InvalidInputError):
            read(damaged)
    with pytest.raises(CheckpointError, match="made by the weights"):
        ready(read(good), load_network(stage.menu.homes[WORLD]), "0" * 64)
    whole = read(good)
    wrong = Replay(whole.start, whole.actions + 90, whole.checksums, 0, whole.origin)
    with pytest.raises(InvalidInputError, match="action"):
        read(replay.to_bytes(wrong))
    path = tmp_path / "played.replay"
    path.write_bytes(good)
    code, said = run("rollout", "--replay", path, "--out", tmp_path / "out")
    assert code == 2
    assert "--checkpoint" in said
    assert run("rollout", "--out", tmp_path / "out")[0] == 2
    assert not (tmp_path / "out").exists()
