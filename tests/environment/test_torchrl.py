from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.environment.stage import SUBJECTS, vector

from actionparty.errors import InvalidInputError

pytest.importorskip("torchrl")

from torchrl.envs.utils import check_env_specs

from actionparty.environment.torchrl import VectorEnv


def make(size: int = 3, max_steps: int = 4) -> VectorEnv:
    return VectorEnv(vector(size, max_steps=max_steps, auto_reset=False))


def test_torchrl_says_that_it_is_one_of_its_environments() -> None:
    check_env_specs(make(), seed=0)


def test_worlds_start_anew_when_they_are_over() -> None:
    env = make()
    env.set_seed(5)
    played = env.rollout(9, break_when_any_done=False)
    assert played.batch_size == (3, 9)
    assert played["next", "truncated"].squeeze(-1)[0].tolist() == [False] * 3 + [True] + [False] * 3 + [True, False]
    assert not played["next", "terminated"].any()
    frames = played["agents", "observation", "frame"]
    assert (played["next", "agents", "observation", "frame"][:, :3] == frames[:, 1:4]).all()
    assert (played["next", "agents", "observation", "frame"][:, 3] != frames[:, 4]).any(), "another episode"


def test_it_plays_what_the_vector_plays() -> None:
    env, plain = make(), vector(3, max_steps=4)
    env.set_seed(5)
    played = env.rollout(8, break_when_any_done=False)
    first = plain.reset(5)
    np.testing.assert_array_equal(played["agents", "observation", "view"][:, 0].numpy(), first["view"])
    for t in range(8):
        step = plain.step(played["agents", "action"][:, t].numpy())
        np.testing.assert_array_equal(played["next", "agents", "reward"][:, t, :, 0].numpy(), step.rewards)
        if step.final is None:
            seen = played["next", "agents", "observation", "state"][:, t].numpy()
            np.testing.assert_array_equal(seen, step.observations["state"])


def test_one_world_can_be_reset_alone() -> None:
    env = make()
    env.set_seed(5)
    played = env.rollout(2)
    before = env.vector.frames.copy()
    now = played[:, -1]["next"].clone()
    now["_reset"] = torch.tensor([[False], [True], [False]])
    again = env.reset(now)
    np.testing.assert_array_equal(env.vector.frames[[0, 2]], before[[0, 2]])
    assert (env.vector.frames[1] != before[1]).any()
    np.testing.assert_array_equal(again["agents", "observation", "frame"][:, 0].numpy(), env.vector.frames)
    assert env.group_map == {"agents": [f"subject_{i}" for i in range(SUBJECTS)]}
    env.close()


def test_it_wants_to_reset_by_itself() -> None:
    with pytest.raises(InvalidInputError, match="auto_reset=False"):
        VectorEnv(vector())
