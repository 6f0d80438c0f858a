from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from pettingzoo import ParallelEnv
from pettingzoo.test import parallel_api_test, parallel_seed_test
from tests.environment.stage import SCENES, SUBJECTS, same, vector
from tests.rollout.samples import actions

import actionparty
from actionparty.environment.batches import RealWorlds
from actionparty.environment.parallel import WorldEnv
from actionparty.environment.vector import VectorRollout
from actionparty.errors import InvalidInputError, UnknownNameError
from actionparty.types import Ints
from actionparty.worlds.arena import ArenaWorld

AGENTS = [f"subject_{i}" for i in range(SUBJECTS)]
STEPS = 12


def make(max_steps: int = 50, **options: Any) -> WorldEnv:
    return WorldEnv(vector(1, auto_reset=False, max_steps=max_steps, **options))


def arena(length: int = 1000, subjects: int = SUBJECTS) -> WorldEnv:
    return WorldEnv(VectorRollout(RealWorlds([ArenaWorld(subjects, (6, 7), length=length)]), auto_reset=False))


def named(row: Ints) -> dict[str, int]:
    return dict(zip(AGENTS, row.tolist(), strict=True))


def flat(value: Any) -> list[Any]:
    """All that a nested answer holds, in the order of its keys."""
    if isinstance(value, Mapping):
        return [x for key in sorted(value) for x in (key, *flat(value[key]))]
    return [x for part in value for x in flat(part)] if isinstance(value, tuple) else [np.asarray(value).tobytes()]


def episode(env: WorldEnv, chosen: Ints, seed: int | None = 3) -> list[Any]:
    answers: list[Any] = [env.reset(seed=seed)]
    answers.extend(env.step(named(row)) for row in chosen if env.agents)
    return [flat(answer) for answer in answers]


@pytest.mark.parametrize("made", [make, lambda: make(6), lambda: arena(9)])
def test_pettingzoo_says_that_it_is_one_of_its_environments(made: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(made(), num_cycles=12)
        parallel_seed_test(made, num_cycles=4)
    assert isinstance(made(), ParallelEnv)


def test_the_same_seed_gives_the_same_episodes_step_by_step() -> None:
    chosen, (a, b) = actions(STEPS, 1)[:, 0], (make(8), make(8))
    assert episode(a, chosen) == episode(b, chosen)
    assert episode(a, chosen, None) == episode(b, chosen, None), "the next ones follow from the seed, too"
    assert episode(a, chosen) == episode(a, chosen)
    assert episode(a, chosen, 3) != episode(a, chosen, 4)


def test_it_is_the_vector_of_one() -> None:
    env, one = make(), vector(1)
    told, _ = env.reset(seed=5)
    first = one.reset(5)
    assert all((told[agent][kind] == first[kind][0, i]).all() for i, agent in enumerate(AGENTS) for kind in first)
    for row in actions(5, 1):
        told, rewards, *_ = env.step(named(row[0]))
        step = one.step(row)
        assert list(rewards.values()) == step.rewards[0].tolist()
        for i, agent in enumerate(AGENTS):
            assert same(told[agent], {kind: values[0, i] for kind, values in step.observations.items()})


def test_the_order_in_which_actions_are_given_does_not_matter() -> None:
    a, b = make(), make()
    assert flat(a.reset(seed=1)) == flat(b.reset(seed=1))
    for row in actions(STEPS, 1)[:, 0]:
        backwards = dict(reversed(named(row).items()))
        assert flat(a.step(named(row))) == flat(b.step(backwards))


def test_it_does_matter_who_does_what() -> None:
    a, b = make(), make()
    assert flat(a.reset(seed=1)) == flat(b.reset(seed=1))
    assert flat(a.step({"subject_0": 1, "subject_1": 0, "subject_2": 5})) != flat(
        b.step({"subject_0": 0, "subject_1": 1, "subject_2": 5})
    )


def test_spaces_are_the_same_objects_and_hold_what_is_observed() -> None:
    env = make(6)
    spaces = {agent: (env.observation_space(agent), env.action_space(agent)) for agent in AGENTS}
    observations, _ = env.reset(seed=0)
    for row in actions(6, 1)[:, 0]:
        assert env.state_space.contains(env.state())
        for agent in AGENTS:
            assert env.observation_space(agent) is spaces[agent][0]
            assert env.action_space(agent) is spaces[agent][1]
            assert spaces[agent][0].contains(observations[agent])
        observations = env.step(named(row))[0]
    assert len({id(space) for pair in spaces.values() for space in pair}) == 2 * SUBJECTS, "seeded one by one"
    assert spaces["subject_0"][1].n == len(env.action_names) == 9
    assert env.action_names[1] == "forward"


def test_generated_and_real_worlds_have_the_same_interface() -> None:
    generated, real = make(observe=("view",)), arena()
    assert generated.possible_agents == real.possible_agents == AGENTS
    assert generated.action_names == real.action_names
    for agent in AGENTS:
        assert generated.observation_space(agent) == real.observation_space(agent)
        assert generated.action_space(agent) == real.action_space(agent)
    assert generated.state_space == real.state_space
    a, b = generated.reset(seed=0), real.reset(seed=0)
    assert [x.keys() for x in a] == [x.keys() for x in b]
    assert all(real.observation_space(agent).contains(a[0][agent]) for agent in AGENTS)


def test_observations_are_the_agents_own() -> None:
    env = make()
    told, _ = env.reset(seed=0)
    told["subject_0"]["frame"][:] = 0
    env.state()["frame"][:] = 0
    shown = env.render()
    assert shown is not None
    shown[:] = 0
    assert told["subject_1"]["frame"].any()
    again = env.render()
    assert again is not None
    np.testing.assert_array_equal(again, SCENES[0].frames[-1])


def test_the_state_is_frame_and_subjects() -> None:
    env = make()
    env.reset(seed=1)
    state, scene = env.state(), SCENES[1]
    np.testing.assert_array_equal(state["frame"], scene.frames[-1])
    np.testing.assert_array_equal(state["position"], scene.states.position[-1])
    np.testing.assert_array_equal(state["facing"], scene.states.facing[-1])
    np.testing.assert_array_equal(state["alive"], scene.states.alive[-1])


def test_who_is_gone_stays_an_agent_whose_actions_do_nothing() -> None:
    def shoot(gone: int) -> list[Any]:
        world = ArenaWorld(layout="#####\n#>.<#\n#####", coin_rate=0)
        env = WorldEnv(VectorRollout(RealWorlds([world]), ("view", "state"), auto_reset=False))
        env.reset(seed=0)
        answers = [env.step({"subject_0": 8, "subject_1": 0})]
        answers += [env.step({"subject_0": 0, "subject_1": gone}) for _ in range(2)]
        assert env.agents == ["subject_0", "subject_1"]
        return answers

    first = shoot(0)
    infos, told = first[0][4], first[0][0]
    assert (infos["subject_0"], infos["subject_1"]) == ({"alive": True}, {"alive": False})
    assert not told["subject_1"]["view"].any()
    assert told["subject_1"]["state"][-1] == 0
    assert [flat(x) for x in first] == [flat(x) for x in shoot(1)]


def test_an_episode_ends_for_all_at_once() -> None:
    env, limited = arena(length=2), make(2)
    chosen = dict.fromkeys(AGENTS, 0)
    for world, kind in ((env, 2), (limited, 3)):
        world.reset(seed=0)
        assert not any(world.step(chosen)[kind].values())
        last = world.step(chosen)
        assert last[kind] == dict.fromkeys(AGENTS, True)
        assert last[5 - kind] == dict.fromkeys(AGENTS, False)
        assert world.agents == []
        with pytest.raises(InvalidInputError, match="it is over"):
            world.step(chosen)
        world.reset()
        assert world.agents == AGENTS


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (None, "must be a mapping of agents to actions, as {'subject_0': 0, ...}, but are None"),
        (5, "must be a mapping of agents to actions"),
        ([0, 0, 0], "must be a mapping of agents to actions"),
        ({}, "no action for subject_0, subject_1, subject_2"),
        ({"subject_0": 0, "subject_2": 0}, "no action for subject_1"),
        ({**dict.fromkeys(AGENTS, 0), "player_7": 0}, "no agent is called player_7"),
        ({**dict.fromkeys(AGENTS, 0), "subject_1": 9}, r"action 9 of subject_1; .* 8 \(fire_zap\)"),
        ({**dict.fromkeys(AGENTS, 0), "subject_1": -1}, "action -1 of subject_1"),
        ({**dict.fromkeys(AGENTS, 0), "subject_1": 1.5}, "action 1.5"),
        ({**dict.fromkeys(AGENTS, 0), "subject_1": "forward"}, "action 'forward'"),
        ({**dict.fromkeys(AGENTS, 0), "subject_1": None}, "action None"),
    ],
)
@pytest.mark.parametrize("made", [make, arena])
def test_wrong_actions_are_refused_and_change_nothing(made: Any, wrong: Any, says: str) -> None:
    env, other = made(), made()
    assert flat(env.reset(seed=0)) == flat(other.reset(seed=0))
    with pytest.raises(InvalidInputError, match=says):
        env.step(wrong)
    assert flat(env.step(dict.fromkeys(AGENTS, 1))) == flat(other.step(dict.fromkeys(AGENTS, 1)))


def test_nothing_goes_before_reset_or_after_close() -> None:
    env = make()
    with pytest.raises(InvalidInputError, match="call reset"):
        env.step(dict.fromkeys(AGENTS, 0))
    for use in (env.render, env.state):
        with pytest.raises(InvalidInputError, match="call reset"):
            use()
    env.reset(seed=0)
    env.close()
    with pytest.raises(InvalidInputError, match="call reset"):
        env.step(dict.fromkeys(AGENTS, 0))


def test_other_wrong_inputs_are_refused() -> None:
    env: Any = make()
    for ask in (env.observation_space, env.action_space):
        with pytest.raises(UnknownNameError, match="Did you mean subject_"):
            ask("subject_9")
    with pytest.raises(UnknownNameError, match="render mode"):
        WorldEnv(vector(1, auto_reset=False), "human")
    for several in (vector(2, auto_reset=False), vector(1)):
        with pytest.raises(InvalidInputError, match="one world"):
            WorldEnv(several)


@pytest.mark.parametrize("made", [make, arena])
@pytest.mark.parametrize(
    ("start", "says"),
    [
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"seed": "x"}, "seed must be a whole number .* but is 'x'"),
        ({"seed": 1.5}, "seed must be a whole number .* but is 1.5"),
        ({"seed": [1.5]}, "seed must be a whole number .* but is 1.5"),
        ({"seed": 2**70}, "seed must be a whole number .* at most 9223372036854775807"),
        ({"options": 3}, "options must be a mapping"),
        ({"options": 0}, "options must be a mapping"),
        ({"options": {"scene": "3"}}, r"actionparty\.Scene"),
    ],
)
def test_a_wrong_start_is_refused_in_words(made: Any, start: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        made().reset(**start)


def test_a_scene_can_be_the_start() -> None:
    env = make()
    env.reset(seed=0, options={"scene": SCENES[2], "other": 1})
    np.testing.assert_array_equal(env.state()["frame"], SCENES[2].frames[-1])
    assert WorldEnv(vector(1, auto_reset=False), None).render() is None


@pytest.mark.meltingpot
def test_melting_pot_itself_answers_like_the_generated_world() -> None:
    kinds = ("view", "frame", "state")
    generated, real = (
        actionparty.env("coins", observe=kinds, backend=backend, max_steps=3) for backend in ("generated", "meltingpot")
    )
    assert (generated.possible_agents, generated.action_names) == (real.possible_agents, real.action_names)
    assert generated.state_space == real.state_space
    for agent in real.possible_agents:
        assert generated.observation_space(agent) == real.observation_space(agent)
        assert generated.action_space(agent) == real.action_space(agent)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(real, num_cycles=5)
        parallel_api_test(generated, num_cycles=5)
    told, infos = real.reset(seed=1)
    assert all(generated.observation_space(agent).contains(told[agent]) for agent in real.agents)
    assert infos == {"subject_0": {"alive": True}, "subject_1": {"alive": True}}
    real.close()
