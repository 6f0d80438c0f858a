from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from tests.worlds.toy_env import ACTIONS, COLORS, H, ToyEnv, W, positions, wrapped

from actionparty.errors import InvalidInputError, UnknownNameError
from actionparty.types import Observation, World, WorldSpec
from actionparty.vocabulary import action_ids
from actionparty.worlds.pettingzoo import PettingZooWorld

STAY, UP, DOWN, OUT = range(4)


def same(a: Observation, b: Observation) -> bool:
    states = [(getattr(a.states, name), getattr(b.states, name)) for name in ("position", "facing", "alive")]
    pairs = [(a.frame, b.frame), (a.rewards, b.rewards), *states]
    return a.ended == b.ended and all(np.array_equal(x, y) for x, y in pairs)


def play(world: PettingZooWorld, seed: int | None, script: list[list[int]]) -> list[Observation]:
    return [world.reset(seed=seed), *(world.step(np.array(row)) for row in script)]


# --- the contract


def test_an_environment_becomes_a_world() -> None:
    env = ToyEnv()
    world = wrapped(env)
    assert isinstance(world, World)
    assert world.spec == WorldSpec("toy-3", 3, (H, W), ACTIONS)
    first = world.reset(seed=5)
    assert np.array_equal(first.frame, env.render())
    assert first.states.position.tolist() == [[i, env.row[agent]] for i, agent in enumerate(env.possible_agents)]
    assert first.states.facing.tolist() == [0, 0, 0]
    assert first.states.alive.all()
    assert not first.rewards.any()
    assert not first.ended


def test_actions_reach_the_agents_in_the_order_of_the_subjects() -> None:
    env = ToyEnv(first_action=7)
    world = wrapped(env)
    world.reset(seed=0)
    env.row = {"red": 2, "green": 2, "blue": 2}
    after = world.step(np.array([UP, STAY, DOWN]))
    assert after.states.position.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert [after.frame[8 * y, 8 * x].tolist() for x, y in ((0, 1), (1, 2), (2, 3))] == COLORS.tolist()


def test_who_terminates_dies_where_it_was_and_the_others_go_on_with_their_rewards() -> None:
    world = wrapped(ToyEnv())
    before = world.reset(seed=1)
    after = world.step(np.array([STAY, OUT, STAY]))
    assert after.rewards.tolist() == [1, 0, 1]
    assert after.states.alive.tolist() == [True, False, True]
    assert after.states.position[1].tolist() == before.states.position[1].tolist()
    later = world.step(np.array([OUT, OUT, STAY]))  # what the dead one does is nobody's business
    assert later.rewards.tolist() == [0, 0, 1]
    assert later.states.alive.tolist() == [False, False, True]
    assert not later.ended
    assert world.step(np.array([STAY, STAY, OUT])).ended


def test_truncation_ends_the_episode_and_nobody_dies_of_it() -> None:
    world = wrapped(ToyEnv(length=2))
    seen = play(world, 0, [[UP, UP, UP], [UP, OUT, UP]])
    assert [o.ended for o in seen] == [False, False, True]
    assert seen[-1].states.alive.tolist() == [True, False, True]
    with pytest.raises(InvalidInputError, match="no episode is running"):
        world.step(np.zeros(3, np.int64))
    assert not world.reset(seed=0).ended


def test_a_seed_repeats_an_episode_and_another_does_not() -> None:
    script = np.random.default_rng(0).integers(0, 3, (5, 3)).tolist()
    world, other = wrapped(ToyEnv()), wrapped(ToyEnv())
    first = play(world, 11, script)
    world.step(np.zeros(3, np.int64))
    assert all(map(same, first, play(world, 11, script)))
    assert all(map(same, first, play(other, 11, script)))
    assert not all(map(same, first, play(world, 12, script)))


def test_frames_and_states_are_the_callers() -> None:
    world = wrapped(ToyEnv())
    first = world.reset(seed=2)
    kept = Observation(first.frame.copy(), first.states[:], first.rewards.copy(), False)
    positions_before = first.states.position.copy()
    world.step(np.array([DOWN, UP, DOWN]))
    assert np.array_equal(kept.frame, first.frame)
    assert np.array_equal(positions_before, first.states.position)


@pytest.mark.parametrize("cell", [1, 2, 8, 20])
def test_pictures_are_scaled_to_cells_of_eight_pixels(cell: int) -> None:
    frame = wrapped(ToyEnv(cell=cell), cell=cell).reset(seed=4).frame
    assert np.array_equal(frame, wrapped(ToyEnv()).reset(seed=4).frame)


def test_facings_and_aliveness_are_what_the_user_tells() -> None:
    world = wrapped(
        ToyEnv(),
        facings=lambda env: {"red": "S", "green": 3},
        alive=lambda env: {"red": True, "green": env.steps < 1},
    )
    seen = play(world, 0, [[STAY] * 3])
    assert [o.states.alive.tolist() for o in seen] == [[True, True, False], [True, False, False]]
    assert [o.states.facing.tolist() for o in seen] == [[2, 3, 0], [2, 3, 0]]


def test_positions_between_cells_stay_as_they_are() -> None:
    world = wrapped(ToyEnv(), positions=lambda env: {"red": (0.25, 3.4), "green": (-0.4, 0), "blue": [4.2, 1]})
    position = world.reset(seed=0).states.position
    assert position.dtype == np.float32
    assert np.allclose(position, [[0.25, 3.4], [-0.4, 0], [4.2, 1]])


def test_closing_closes_the_environment() -> None:
    env = ToyEnv()
    wrapped(env).close()
    assert env.closed


# --- what can't be a world


def renders(picture: Any) -> ToyEnv:
    env = ToyEnv()
    env.render = lambda: picture  # type: ignore[method-assign]
    return env


def acts_in(space: spaces.Space[Any]) -> ToyEnv:
    env = ToyEnv()
    env.action_space = lambda agent: space  # type: ignore[method-assign]
    return env


PICTURES: dict[str, Any] = {
    "make it with render_mode='rgb_array'": None,
    "it renders uint8 of shape (32, 40, 4)": np.zeros((32, 40, 4), np.uint8),
    "it renders float64 of shape (32, 40, 3)": np.zeros((32, 40, 3)),
    "41x32 pixels, which is no whole number of cells of 8x8": np.zeros((32, 41, 3), np.uint8),
    "100x100 cells, and more than 4096 are too many": np.zeros((800, 800, 3), np.uint8),
}


@pytest.mark.parametrize("said", PICTURES)
def test_a_picture_that_is_no_frame_is_refused(said: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        wrapped(renders(PICTURES[said]))
    assert said in str(refused.value)
    assert str(refused.value).startswith("toy-3: ")


def test_a_picture_that_changes_its_size_is_refused() -> None:
    env = ToyEnv()
    world = wrapped(env)
    world.reset(seed=0)
    env.render = lambda: np.zeros((8, 8, 3), np.uint8)  # type: ignore[method-assign]
    with pytest.raises(InvalidInputError, match="now one has 8x8 pixels"):
        world.step(np.zeros(3, np.int64))


@pytest.mark.parametrize("space", [spaces.Box(0, 1, (2,)), spaces.Discrete(3), spaces.MultiDiscrete([4, 4])])
def test_all_actions_need_names(space: spaces.Space[Any]) -> None:
    with pytest.raises(InvalidInputError, match="4 actions have names, but red acts in"):
        wrapped(acts_in(space))


def test_an_unknown_action_name_is_refused_with_the_way_out() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown action 'forwards'.*forward.*own_1 to own_8"):
        wrapped(ToyEnv(), actions=("noop", "forwards", "backward", "interact"))
    with pytest.raises(InvalidInputError, match="two actions have one name"):
        wrapped(ToyEnv(), actions=("noop", "forward", "forward", "interact"))


def test_names_for_actions_of_ones_own_keep_their_ids() -> None:
    assert action_ids(tuple(f"own_{i}" for i in range(1, 9))) == tuple(range(55, 63))


def test_what_is_no_parallel_environment_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="object is no PettingZoo ParallelEnv: it has no"):
        wrapped(object())
    nobody = ToyEnv()
    nobody.possible_agents = []
    with pytest.raises(InvalidInputError, match="possible_agents must be names"):
        wrapped(nobody)


def stepping(change: Callable[[ToyEnv, Any], Any]) -> PettingZooWorld:
    """A world that has begun, and whose environment answers to a step something else."""
    env = ToyEnv()
    world, step = wrapped(env), env.step
    env.step = lambda actions: change(env, step(actions))  # type: ignore[method-assign]
    world.reset(seed=0)
    return world


def newcomer(env: ToyEnv, answer: Any) -> Any:
    env.agents.append("violet")
    return answer


ANSWERS: dict[str, Callable[[ToyEnv, Any], Any]] = {
    "agents violet are not among its possible_agents": newcomer,
    "must answer five dicts": lambda env, answer: answer[:4],
    "aec_to_parallel": lambda env, answer: None,
    "gave no rewards for green, who acted": lambda env, answer: (answer[0], {"red": 1, "blue": 1}, *answer[2:]),
    "a reward is not a finite number": lambda env, answer: (answer[0], dict.fromkeys(env.agents, np.nan), *answer[2:]),
}


@pytest.mark.parametrize("said", ANSWERS)
def test_an_answer_that_means_nothing_is_refused(said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        stepping(ANSWERS[said]).step(np.zeros(3, np.int64))


def test_an_environment_without_anybody_is_refused() -> None:
    env = ToyEnv()
    world, reset = wrapped(env), env.reset

    def empty(seed: int | None = None, options: Any = None) -> Any:
        answer = reset(seed)
        env.agents = []
        return answer

    env.reset = empty  # type: ignore[method-assign]
    with pytest.raises(InvalidInputError, match="nobody is there after a reset"):
        world.reset(seed=0)


PLACES: dict[str, Any] = {
    "says nothing of blue, who is alive": {"red": (0, 0), "green": (1, 1)},
    r"blue is at \[5.0, 1.0\], but a place is": {"red": (0, 0), "green": (1, 1), "blue": (5, 1)},
    r"red is at \[0.0, 1.0, 2.0\]": {"red": (0, 1, 2), "green": (1, 1), "blue": (2, 1)},
    r"green is at \[nan, 0.0\]": {"red": (0, 1), "green": (np.nan, 0), "blue": (2, 1)},
}


@pytest.mark.parametrize("said", PLACES)
def test_a_place_outside_the_frame_is_refused(said: str) -> None:
    world = wrapped(ToyEnv(), positions=lambda env: PLACES[said])
    with pytest.raises(InvalidInputError, match=said):
        world.reset(seed=0)


@pytest.mark.parametrize("facing", ["up", 4, -1, None, 1.5])
def test_a_facing_that_is_none_is_refused(facing: Any) -> None:
    world = wrapped(ToyEnv(), facings=lambda env: {"red": "N", "green": facing, "blue": "N"})
    with pytest.raises(InvalidInputError, match="green faces"):
        world.reset(seed=0)


def test_wrong_actions_and_scenes_are_refused() -> None:
    world = wrapped(ToyEnv(), positions=positions)
    with pytest.raises(InvalidInputError, match="no episode is running"):
        world.step(np.zeros(3, np.int64))
    world.reset(seed=0)
    for actions in ([0, 0], [0, 0, 4], [0, -1, 0]):
        with pytest.raises(InvalidInputError):
            world.step(np.array(actions))
    with pytest.raises(InvalidInputError, match="can't start from a scene"):
        world.reset(scene=object())  # type: ignore[arg-type]
