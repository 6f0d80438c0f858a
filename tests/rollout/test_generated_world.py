from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.rollout.samples import ARENA, SUBJECTS, actions, model, rollout, scene

from actionparty.config import RolloutConfig
from actionparty.errors import InvalidInputError, UnknownNameError
from actionparty.model.palette import WorldTiles
from actionparty.rollout.generated_world import GeneratedWorld, generated_world
from actionparty.rollout.scenes import SCENES, save_scene
from actionparty.training.checkpoint import save_weights
from actionparty.types import Observation, World
from actionparty.worlds.arena import ArenaWorld


def world() -> GeneratedWorld:
    return GeneratedWorld(rollout(), [scene(5), scene(9)])


def described(observation: Observation) -> list[tuple[tuple[int, ...], np.dtype[np.generic]]]:
    arrays = (
        observation.frame,
        observation.states.position,
        observation.states.facing,
        observation.states.alive,
        observation.rewards,
    )
    return [(a.shape, a.dtype) for a in arrays]


def test_generated_and_real_worlds_answer_alike() -> None:
    real, generated = ArenaWorld(SUBJECTS, (6, 7)), world()
    assert isinstance(real, World)
    assert isinstance(generated, World)
    assert generated.spec == real.spec
    assert described(generated.reset(seed=0)) == described(real.reset(seed=0))
    chosen = actions(1, 1)[0, 0]
    a, b = generated.step(chosen), real.step(chosen)
    assert described(a) == described(b)
    assert isinstance(a.ended, bool)
    generated.close()


def test_a_seed_picks_scene_and_chance() -> None:
    one, two = world(), world()
    np.testing.assert_array_equal(one.reset(seed=3).frame, two.reset(seed=3).frame)
    np.testing.assert_array_equal(one.reset(seed=3).frame, scene(9).frames[-1])
    np.testing.assert_array_equal(one.reset(seed=4).frame, scene(5).frames[-1])
    two.reset(seed=4)
    for row in actions(3, 1):
        np.testing.assert_array_equal(one.step(row[0]).frame, two.step(row[0]).frame)


def test_a_given_scene_is_the_start() -> None:
    generated = world()
    np.testing.assert_array_equal(generated.reset(seed=3, scene=scene(12)).frame, scene(12).frames[-1])
    assert generated.reset().frame.shape == (48, 56, 3)


@pytest.mark.parametrize("wrong", [[0, 0], [0, 0, 9], [0, 0, -1], [[0, 0, 0]], [0.0, 0.0, 0.0]])
def test_wrong_actions_are_refused(wrong: object) -> None:
    generated = world()
    generated.reset(seed=0)
    with pytest.raises(InvalidInputError, match=r"arena"):
        generated.step(wrong)


def test_a_generated_world_needs_a_start() -> None:
    with pytest.raises(InvalidInputError, match=r"at least one scene"):
        GeneratedWorld(rollout(), [])
    with pytest.raises(InvalidInputError, match=r"reset"):
        world().step([0, 0, 0])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_weights(tmp_path, ARENA, model().state_dict(), {}, {"arena": WorldTiles.unchanging(-torch.ones(2, 192))})
    for k, step in enumerate((5, 9)):
        save_scene(tmp_path / SCENES / "arena" / f"{k}.npz", scene(step))
    return tmp_path


def test_a_checkpoint_with_scenes_is_a_world(checkpoint: Path) -> None:
    generated = generated_world(checkpoint, "arena")
    np.testing.assert_array_equal(generated.reset(seed=1).frame, scene(9).frames[-1])
    assert generated.step([1, 0, 2]).frame.shape == (48, 56, 3)
    snapped = generated_world(checkpoint, "arena", RolloutConfig(snap=True))
    snapped.reset(seed=1)
    assert snapped.step([1, 0, 2]).frame.min() == 0


def test_an_unknown_world_is_answered_with_the_nearest(checkpoint: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean arena"):
        generated_world(checkpoint, "arean")


def test_snapping_needs_known_tiles(checkpoint: Path) -> None:
    save_weights(checkpoint, ARENA, model().state_dict(), {})
    with pytest.raises(InvalidInputError, match=r"no known tiles of arena"):
        generated_world(checkpoint, "arena", RolloutConfig(snap=True)).reset()
