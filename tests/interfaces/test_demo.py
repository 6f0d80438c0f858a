from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.evaluation import toy

from actionparty.config import MODEL_PRESETS
from actionparty.data.dataset import Shard, commit, create_or_open
from actionparty.data.episodes import write_episode
from actionparty.errors import CheckpointError, InvalidInputError, UnknownNameError
from actionparty.evaluation.export import HELD_OUT
from actionparty.evaluation.labels import build_labels
from actionparty.interfaces.demo import default_worlds, run_demo
from actionparty.model.network import Network
from actionparty.rollout.scenes import save_scene
from actionparty.training.checkpoint import save_weights
from actionparty.types import Episode


def write_dataset(path: Path, episodes: Sequence[Episode]) -> None:
    dataset = create_or_open(path)
    for episode in episodes:
        staged = path.parent / "staged"
        name = f"{episode.world.name}/{episode.seed}"
        commit(dataset, Shard.of(name, episode, write_episode(staged, episode)), staged)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained tiny network with everything that ships beside weights."""
    folder = tmp_path_factory.mktemp("demo") / "weights"
    config = replace(MODEL_PRESETS["tiny"], worlds=("toy",))
    torch.manual_seed(0)
    save_weights(folder, config, Network(config).state_dict(), {})
    held_out = [toy.record(1_000_000 + k, 40) for k in range(2)]
    save_scene(folder / "scenes" / "toy" / "0.npz", held_out[0].scene(9, config.context, config.memory))
    build_labels([toy.record(k, 100) for k in range(3)]).save(folder / "labels" / "toy.npz")
    write_dataset(folder / HELD_OUT, held_out)
    return folder


def test_the_demo_films_a_world_beside_its_recording_and_measures_it(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    said: list[str] = []
    demo = run_demo(tmp_path / "out", checkpoint, steps=12, echo=said.append)
    assert [path.name for path in demo.files["toy"]] == ["toy.mp4", "toy.gif", "toy.png"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["toy.gif", "toy.mp4", "toy.png"]
    with Image.open(tmp_path / "out" / "toy.gif") as film:
        assert getattr(film, "n_frames") == 13  # noqa: B009 - Pillow's stubs do not know it
        both = film.width
    assert any("12 steps of 4 subjects" in line for line in said)
    assert demo.report is not None
    world = demo.report.to_json()["worlds"]["toy"]
    assert world["detector"] == 1
    assert 0 <= world["ma1"] <= 1
    assert demo.frames_per_second["toy"] > 0
    run_demo(tmp_path / "again", checkpoint, steps=12, measure=False)
    for name in ("toy.gif", "toy.png"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    assert both > 2 * 13 * 8 * 2


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
