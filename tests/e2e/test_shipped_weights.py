"""The weights in the package do what the README says: these tests fail when worse ones are shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actionparty.checkpoints import SHIPPED, find_checkpoint, fingerprint, is_experimental, quality, shipped_names
from actionparty.config import RolloutConfig
from actionparty.data.dataset import load_episodes, verify
from actionparty.evaluation.evaluate import EvaluationSettings, evaluate
from actionparty.evaluation.export import HELD_OUT
from actionparty.evaluation.labels import TileLabels
from actionparty.rollout.generated_world import generated_world
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.scenes import load_scene, scene_paths, scene_worlds
from actionparty.training.checkpoint import load_network
from actionparty.types import World
from actionparty.worlds.substrates import SUBSTRATES

CROWDED = "collaborative_cooking__crowded"
WEIGHTS, ALL = "starter", "all"


@pytest.fixture(scope="module")
def folder() -> Path:
    assert WEIGHTS in shipped_names()
    return find_checkpoint(WEIGHTS)


def test_at_least_six_worlds_ship_among_them_nine_and_seven_subjects(folder: Path) -> None:
    worlds = scene_worlds(folder)
    subjects = {name: load_scene(scene_paths(folder, name)[0]).world.subjects for name in worlds}
    assert len(worlds) >= 6
    assert subjects[CROWDED] == 9
    assert 7 in subjects.values()
    assert "coins" in worlds
    assert set(worlds) == set(load_network(folder).config.worlds)
    assert all(len(scene_paths(folder, name)) >= 8 for name in worlds)


def test_every_substrate_of_melting_pot_ships_with_scenes_and_figures() -> None:
    everything = find_checkpoint(ALL)
    assert set(scene_worlds(everything)) == set(SUBSTRATES) == set(load_network(everything).config.worlds)
    assert set(quality(everything)) == set(SUBSTRATES)
    assert all(len(scene_paths(everything, name)) >= 8 for name in SUBSTRATES)
    good = [name for name, found in quality(everything).items() if not is_experimental(found)]
    assert len(good) >= 35, "docs/results.md says how many"


def test_the_package_stays_small_and_its_recordings_are_whole() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < 40e6
    for name in shipped_names():
        assert verify(find_checkpoint(name) / HELD_OUT) == []


@pytest.mark.parametrize("weights", [WEIGHTS, ALL])
def test_every_scene_of_every_world_can_be_played(weights: str) -> None:
    folder = find_checkpoint(weights)
    network = load_network(folder)
    for name in scene_worlds(folder):
        scenes = [load_scene(path) for path in scene_paths(folder, name)]
        rollout = BatchRollout(network)
        rollout.reset(scenes, range(len(scenes)))
        step = rollout.step(np.zeros((len(scenes), scenes[0].world.subjects), np.int64))
        assert step.frames.shape[1:] == scenes[0].frames.shape[1:], name
        assert np.isfinite(step.states.position).all()


def test_one_call_gives_a_generated_world() -> None:
    world = generated_world(WEIGHTS, CROWDED)
    assert isinstance(world, World)
    first = world.reset(seed=3)
    second = world.step(np.full(9, world.spec.action_index("turn_left")))
    turned = (second.states.facing - first.states.facing) % 4 == 3
    assert turned.mean() >= 8 / 9


def test_nine_subjects_obey_and_stay(folder: Path) -> None:
    """Floors a little under the figures in docs/results.md, on a small part of the same held-out recordings."""
    network = load_network(folder)
    episodes = list(load_episodes(folder / HELD_OUT, [CROWDED]))[:6]
    settings = EvaluationSettings(
        rollouts=6,
        horizon=60,
        steps_per_episode=16,
        probes_per_episode=8,
        batch=6,
        context=network.config.context,
    )
    report = evaluate(
        lambda spec: BatchRollout(network, RolloutConfig()),
        {CROWDED: episodes},
        {CROWDED: TileLabels.load(folder / "labels" / f"{CROWDED}.npz")},
        settings,
        checkpoint=fingerprint(folder),
    )
    row = report.to_json()["worlds"][CROWDED]
    assert row["ma1_moving"] >= 0.95
    assert row["sa1"] >= 0.96
    assert row["sp"]["50"] >= 0.97
    assert row["ma"] >= 0.97
    assert row["isolation"] >= 0.98
    assert row["swap"] >= 0.97


def test_removed_subjects_come_back_when_the_simulator_brings_them_back(folder: Path) -> None:
    """In commons_harvest__open a zapped subject returns after exactly 5 steps; the first weights never saw that."""
    network = load_network(folder)
    found: list[tuple[bool, bool]] = []
    for episode in load_episodes(folder / HELD_OUT, ["commons_harvest__open"]):
        alive = episode.states.alive
        rows = np.flatnonzero((~alive[:-1] & alive[1:]).any(1))
        rows = rows[(rows >= 8) & (rows < len(alive) - 1)][:4]
        if not len(rows):
            continue
        rollout = BatchRollout(network)
        scenes = [episode.scene(int(row), network.config.context, network.config.memory) for row in rows]
        rollout.reset(scenes, range(len(scenes)))
        predicted = rollout.step(episode.actions[rows + 1]).states.alive
        gone = ~alive[rows]
        found += zip(alive[rows + 1][gone].tolist(), predicted[gone].tolist(), strict=True)
        if len(found) > 60:
            break
    back = [said for real, said in found if real]
    still = [said for real, said in found if not real]
    assert len(back) >= 20
    assert np.mean(back) >= 0.9
    assert np.mean(still) <= 0.1
