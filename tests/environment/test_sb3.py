from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from tests.environment.stage import SUBJECTS, same, vector
from tests.rollout.samples import actions

from actionparty.errors import InvalidInputError

pytest.importorskip("stable_baselines3")

from stable_baselines3.common.vec_env import VecMonitor

from actionparty.environment.parallel import WorldEnv
from actionparty.environment.sb3 import SubjectsVecEnv


def test_every_subject_of_every_world_is_an_environment() -> None:
    going, plain = SubjectsVecEnv(vector(2, max_steps=3)), vector(2, max_steps=3)
    assert going.num_envs == 2 * SUBJECTS
    going.seed(4)
    flat = {kind: values.reshape(-1, *values.shape[2:]) for kind, values in plain.reset(4).items()}
    told = going.reset()
    assert isinstance(told, dict)
    assert same(told, flat)
    for row in actions(3, 2):
        observations, rewards, done, infos = going.step(row.reshape(-1))
        step = plain.step(row)
        assert isinstance(observations, dict)
        assert all((observations[kind][4] == values[1, 1]).all() for kind, values in step.observations.items())
        np.testing.assert_array_equal(rewards, step.rewards.reshape(-1))
        np.testing.assert_array_equal(done, np.repeat(step.truncated, SUBJECTS))
    assert done.all()
    assert step.final is not None
    for number, info in enumerate(infos):
        last = {kind: values[number // SUBJECTS, number % SUBJECTS] for kind, values in step.final.observations.items()}
        assert same(info["terminal_observation"], last)
        assert info["TimeLimit.truncated"] is True
    going.close()


def test_spaces_hold_what_is_observed_and_wrappers_work() -> None:
    monitored = VecMonitor(SubjectsVecEnv(vector(1, max_steps=2)))
    told = monitored.reset()
    assert isinstance(told, dict)
    assert all(monitored.observation_space.contains({k: v[i] for k, v in told.items()}) for i in range(SUBJECTS))
    infos = [monitored.step(row.reshape(-1))[3] for row in actions(2, 1)]
    assert [info["episode"]["l"] for info in infos[1]] == [2] * SUBJECTS
    assert not any(monitored.env_is_wrapped(gymnasium.Wrapper))
    assert monitored.get_attr("max_steps", 1) == [2]
    picture = monitored.render()
    assert picture is not None
    assert picture.shape[2] == 3


def test_supersuit_makes_the_same_of_the_single_world() -> None:
    supersuit = pytest.importorskip("supersuit")
    single = WorldEnv(vector(1, auto_reset=False, max_steps=3))
    single.reset(seed=4)
    theirs = supersuit.pettingzoo_env_to_vec_env_v1(single)
    theirs = supersuit.concat_vec_envs_v1(theirs, 1, num_cpus=0, base_class="stable_baselines3")
    ours = SubjectsVecEnv(vector(1, max_steps=3))
    ours.seed(4)
    ours.reset()
    assert theirs.num_envs == ours.num_envs
    told: list[Any] = [theirs.reset(), ours.reset()]
    for row in actions(5, 1):
        assert same(*told)
        (a, *x, _), (b, *y, _) = theirs.step(row[0]), ours.step(row[0])
        told = [a, b]
        assert all(np.array_equal(p, q) for p, q in zip(x, y, strict=True))
    assert y[-1].tolist() == [False] * SUBJECTS


def test_what_it_cannot_do_it_says() -> None:
    with pytest.raises(InvalidInputError, match="auto_reset=True"):
        SubjectsVecEnv(vector(auto_reset=False))
    going = SubjectsVecEnv(vector())
    with pytest.raises(InvalidInputError, match="max_steps"):
        going.set_attr("max_steps", 3)
    with pytest.raises(InvalidInputError, match="reset"):
        going.env_method("reset")
