from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.evaluation import toy
from typer.testing import CliRunner

from actionparty.config import MODEL_PRESETS
from actionparty.data.dataset import Shard, commit, create_or_open
from actionparty.data.episodes import write_episode
from actionparty.errors import CheckpointError, InvalidInputError, UnknownNameError
from actionparty.evaluation.export import HELD_OUT
from actionparty.evaluation.labels import build_labels
from actionparty.interfaces.cli import app
from actionparty.interfaces.demo import default_worlds, play, run_demo
from actionparty.interfaces.drawing import fit_scale
from actionparty.model.network import Network
from actionparty.model.update import ALIVE, JUMP
from actionparty.rollout.scenes import save_scene
from actionparty.training.checkpoint import load_network, save_weights
from actionparty.types import CELL, Episode


def write_dataset(path: Path, episodes: Sequence[Episode]) -> None:
    dataset = create_or_open(path)
    for episode in episodes:
        staged = path.parent / "staged"
        name = f"{episode.world.name}/{episode.seed}"
        commit(dataset, Shard.of(name, episode, write_episode(staged, episode)), staged)


def make_checkpoint(folder: Path, network: Network, held_out: Sequence[Episode]) -> Path:
    """Write a checkpoint with everything that ships beside weights."""
    save_weights(folder, network.config, network.state_dict(), {})
    write_dataset(folder / HELD_OUT, held_out)
    for episode in held_out:
        name, config = episode.world.name, network.config
        save_scene(folder / "scenes" / name / "0.npz", episode.scene(9, config.context, config.memory))
        random = [renamed(toy.record(k, 100), name) for k in range(3)]
        build_labels(random).save(folder / "labels" / f"{name}.npz")
    return folder


def renamed(episode: Episode, name: str) -> Episode:
    return replace(episode, world=replace(episode.world, name=name))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained tiny network."""
    torch.manual_seed(0)
    network = Network(replace(MODEL_PRESETS["tiny"], worlds=("toy",)))
    held_out = [toy.record(1_000_000 + k, 40) for k in range(2)]
    return make_checkpoint(tmp_path_factory.mktemp("demo") / "weights", network, held_out)


PACING_ROWS = 43
"""With this many, all rollouts start where subject 0 stands at its lower cell."""


def pacing(seed: int, name: str) -> Episode:
    """Record an episode in which subject 0 goes forward and backward in turn, and nobody else does anything."""
    script = np.full((PACING_ROWS - 1, toy.N), toy.NOOP)
    script[:, 0] = np.where(np.arange(PACING_ROWS - 1) % 2, toy.ACTIONS.index("backward"), toy.FORWARD)
    return renamed(toy.record(seed, PACING_ROWS, script), name)


def frozen_network(worlds: tuple[str, ...]) -> Network:
    """Make a network in whose worlds everybody lives, faces north, and nothing ever changes."""
    torch.manual_seed(0)
    network = Network(replace(MODEL_PRESETS["tiny"], worlds=worlds))
    gate = network.render.gate[-1]
    assert isinstance(gate, torch.nn.Linear)
    with torch.no_grad():
        gate.weight.zero_()
        gate.bias.fill_(-20)
        network.update.out.bias[ALIVE] = 1
        network.update.out.bias[JUMP] = -1
    return network


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two frozen worlds beside recordings in which one subject of four walks."""
    held_out = [pacing(1_000_000 + k, name) for name in ("maze", "toy") for k in range(2)]
    network = frozen_network(("maze", "toy"))
    return make_checkpoint(tmp_path_factory.mktemp("frozen") / "weights", network, held_out)


def test_the_demo_films_a_world_beside_its_recording_and_measures_it(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    said: list[str] = []
    demo = run_demo(tmp_path / "out", checkpoint, steps=12, echo=said.append)
    assert [path.name for path in demo.files["toy"]] == ["toy.mp4", "toy.gif", "toy.png"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["toy.gif", "toy.mp4", "toy.png"]
    assert any("12 steps of 4 subjects" in line for line in said)
    assert demo.report is not None
    assert demo.frames_per_second["toy"] > 0
    run_demo(tmp_path / "again", checkpoint, steps=12, measure=False)
    for name in ("toy.gif", "toy.png"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_a_frozen_world_is_measured_as_the_recording_says(frozen: Path, tmp_path: Path) -> None:
    report = run_demo(tmp_path / "out", frozen, steps=3).report
    assert report is not None
    found = report.to_json()
    assert set(found["worlds"]) == {"maze", "toy"}
    h, w = toy.SPEC.grid
    resting = (toy.N - 1) / toy.N
    for world in found["worlds"].values():
        assert (world["subjects"], world["rollouts"], world["horizon"]) == (4, 8, 100)
        assert (world["detector"], world["sp_mean"], world["dr"], world["duplicates"]) == (1, 1, 1, 0)
        assert (world["sp"]["10"], world["sp"]["100"]) == (1, 1)
        assert (world["ma1"], world["sa1"], world["ma"]) == (resting, resting, resting)
        assert (world["ma1_moving"], world["changed_tile"]) == (0, 0)
        assert world["tile"] == pytest.approx(1 - 2 / (h * w)), "one subject leaves a cell and enters another"
        assert world["isolation"] == 1
    assert found["mean"]["ma1"] == resting


def test_generated_and_recorded_frames_stand_side_by_side(frozen: Path) -> None:
    played = play(load_network(frozen), frozen, "maze", steps=12, seed=0)
    recorded = pacing(1_000_000, "maze").frames(2, 15)
    assert len(played.generated) == len(played.real) == 13
    for k, (mine, real) in enumerate(zip(played.generated, played.real, strict=True)):
        np.testing.assert_array_equal(real.frame, recorded[k])
        np.testing.assert_array_equal(mine.frame, recorded[0])
        np.testing.assert_array_equal(mine.actions, real.actions)
    assert (recorded[1] != recorded[0]).any()


def test_films_and_sheets_hold_what_they_should(frozen: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    film, gif, sheet = run_demo(tmp_path / "out", frozen, ["maze"], 12, measure=False).files["maze"]
    h, w = (cells * CELL for cells in toy.SPEC.grid)
    with av.open(str(film)) as container:
        shown = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    scale, middle = fit_scale(toy.SPEC, 660), shown[0].shape[1] // 2
    assert len(shown) == 13
    assert shown[0].shape[0] > h * scale
    assert shown[0].shape[1] > 2 * w * scale
    for before, after in pairwise(frame[:, middle:] for frame in shown):
        assert np.abs(before - after).max() > 60, "the recorded subject walks in every step"
    with Image.open(gif) as picture:
        assert (picture.format, getattr(picture, "n_frames")) == ("GIF", 13)  # noqa: B009 - not in Pillow's stubs
        assert picture.width > 2 * w * fit_scale(toy.SPEC, 320)
    with Image.open(sheet) as picture:
        assert picture.format == "PNG"
        assert picture.width > 4 * w * fit_scale(toy.SPEC, 520)
        assert len(picture.convert("RGB").getcolors(2**24) or []) > 100


def test_the_command_names_every_file_and_tabulates_every_world(frozen: Path, tmp_path: Path) -> None:
    line = ["demo", "--checkpoint", str(frozen), "--out", str(tmp_path / "out"), "--steps", "2"]
    result = CliRunner().invoke(app, line, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    table = [row.split()[0] for row in result.stdout.splitlines() if row.strip()]
    assert {"maze", "toy", "mean"} <= set(table)
    for path in (tmp_path / "out").iterdir():
        assert str(path) in result.stdout


def test_a_film_never_goes_past_the_recording(checkpoint: Path, tmp_path: Path) -> None:
    run_demo(tmp_path / "out", checkpoint, steps=1000, measure=False)
    with Image.open(tmp_path / "out" / "toy.gif") as film:
        assert getattr(film, "n_frames") <= 40 - 2  # noqa: B009


def test_without_recordings_a_policy_plays_the_scene(checkpoint: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    for path in checkpoint.rglob("*"):
        if path.is_file() and HELD_OUT not in path.parts:
            target = bare / path.relative_to(checkpoint)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    said: list[str] = []
    demo = run_demo(tmp_path / "out", bare, steps=5, echo=said.append)
    assert demo.report is None
    assert any("no metrics" in line for line in said)
    with Image.open(tmp_path / "out" / "toy.gif") as film:
        assert film.width < 2 * 13 * 8 * 3


def test_what_cannot_be_shown_is_said_before_anything_is_written(checkpoint: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "mine.txt").write_text("mine")
    with pytest.raises(InvalidInputError, match="exists"):
        run_demo(kept, checkpoint)
    out = tmp_path / "out"
    with pytest.raises(UnknownNameError, match="toy"):
        run_demo(out, checkpoint, worlds=["toys"])
    with pytest.raises(InvalidInputError, match="step"):
        run_demo(out, checkpoint, steps=0)
    with pytest.raises((CheckpointError, UnknownNameError)):
        run_demo(out, tmp_path / "nothing")
    assert not out.exists()
    assert [p.name for p in kept.iterdir()] == ["mine.txt"]


def test_crowded_and_a_world_with_seven_subjects_are_the_first_choice(tmp_path: Path) -> None:
    sizes = {"coins": 2, "clean_up": 7, "territory__open": 9, "collaborative_cooking__crowded": 9}
    for name, n in sizes.items():
        scene = toy.record(0, 5).scene(4, 2, 4)
        keep = np.arange(n) % toy.N
        states = replace(scene.states, **{k: v[:, keep] for k, v in vars(scene.states).items()})
        spec = replace(scene.world, name=name, subjects=n)
        grown = replace(
            scene, world=spec, states=states, actions=scene.actions[:, keep], identities=scene.identities[keep]
        )
        save_scene(tmp_path / "scenes" / name / "0.npz", grown)
    assert default_worlds(tmp_path) == ["collaborative_cooking__crowded", "clean_up"]
    with pytest.raises(InvalidInputError, match="no scenes"):
        default_worlds(tmp_path / "scenes")
