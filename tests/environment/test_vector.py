from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.environment.stage import GRID, SCENES, SUBJECTS, almost, same, vector
from tests.rollout.samples import actions, rollout

from actionparty.environment.batches import Answers, GeneratedWorlds, RealWorlds
from actionparty.environment.vector import EpisodeSeeds, VectorRollout, VectorStep
from actionparty.errors import InvalidInputError
from actionparty.rollout.rollout import RolloutStep
from actionparty.types import Ints
from actionparty.worlds.arena import ArenaWorld

STEPS = 12


def real(size: int, **options: Any) -> VectorRollout:
    return VectorRollout(RealWorlds([ArenaWorld(SUBJECTS, GRID) for _ in range(size)]), **options)


def play(going: VectorRollout, chosen: Ints) -> list[VectorStep]:
    return [going.step(row) for row in chosen]


def equal(a: VectorStep, b: VectorStep) -> bool:
    return same(a.observations, b.observations) and all(
        np.array_equal(x, y) for x, y in ((a.rewards, b.rewards), (a.ended, b.ended), (a.truncated, b.truncated))
    )


class Broken(GeneratedWorlds):
    """The second world's network says something that is no number."""

    def step(self, actions: Ints) -> Answers:
        return replace(super().step(actions), sound=np.array([True, False, True]))


def test_shapes_and_types() -> None:
    going = vector(4)
    told = going.reset(0)
    assert told["view"].shape == (4, SUBJECTS, 88, 88, 3)
    assert told["view"].dtype == np.uint8
    assert (told["frame"].shape, told["state"].shape) == ((4, SUBJECTS, 48, 56, 3), (4, SUBJECTS, 7))
    step = going.step(actions(1, 4)[0])
    assert (step.rewards.shape, step.ended.shape, step.truncated.shape) == ((4, SUBJECTS), (4,), (4,))
    assert going.frames.shape == (4, GRID[0] * 8, GRID[1] * 8, 3)
    assert going.states.position.shape == (4, SUBJECTS, 2)


def test_the_same_seed_and_actions_give_the_same_for_many_steps_and_episodes() -> None:
    chosen, (a, b) = actions(STEPS, 3), (vector(3, max_steps=5), vector(3, max_steps=5))
    assert same(a.reset(7), b.reset(7))
    assert all(equal(x, y) for x, y in zip(play(a, chosen), play(b, chosen), strict=True))
    assert same(a.reset(7), b.reset(7)), "again, in the middle of episodes"
    assert not same(a.reset(7), b.reset(8))


def test_a_world_is_the_same_alone_and_among_others_also_in_later_episodes() -> None:
    chosen, together = actions(STEPS, 3), vector(3, max_steps=5)
    first = together.reset(20)
    steps = play(together, chosen)
    for row in range(3):
        alone = vector(1, max_steps=5)
        assert same({k: v[0] for k, v in alone.reset(20 + row).items()}, {k: v[row] for k, v in first.items()})
        for one, many in zip(play(alone, chosen[:, row : row + 1]), steps, strict=True):
            mine = {kind: values[row] for kind, values in many.observations.items()}
            assert almost({kind: values[0] for kind, values in one.observations.items()}, mine)
            np.testing.assert_array_equal(one.observations["state"][0], mine["state"])
            assert (one.ended[0], one.truncated[0]) == (many.ended[row], many.truncated[row])


def test_seeds_may_be_given_one_by_one_and_decide_the_scene() -> None:
    going = vector(3)
    going.reset([5, 0, 4])
    for row, seed in enumerate((5, 0, 4)):
        np.testing.assert_array_equal(going.frames[row], SCENES[seed % 3].frames[-1])


def test_without_a_seed_the_episodes_go_on_from_the_last() -> None:
    a, b = vector(2), vector(2)
    assert same(a.reset(3), b.reset(3))
    assert [same(a.reset(), b.reset()) for _ in range(3)] == [True] * 3
    drawn = EpisodeSeeds(3)
    seeds = [drawn.draw() for _ in range(4)]
    assert seeds[0] == 3
    assert len(set(seeds)) == 4
    assert EpisodeSeeds(None).draw() != EpisodeSeeds(None).draw(), "one in 2**31 by chance"


def test_a_copy_goes_on_like_its_origin() -> None:
    going, chosen = vector(2, max_steps=3), actions(6, 2)
    going.reset(1)
    play(going, chosen[:2])
    copied = pickle.loads(pickle.dumps(going))
    assert all(equal(a, b) for a, b in zip(play(going, chosen[2:]), play(copied, chosen[2:]), strict=True))


def test_an_episode_that_is_long_enough_is_truncated_and_another_starts() -> None:
    going, chosen = vector(2, max_steps=3), actions(4, 2)
    going.reset(0)
    steps = play(going, chosen)
    assert [step.truncated.tolist() for step in steps] == [[False] * 2, [False] * 2, [True] * 2, [False] * 2]
    assert not any(step.ended.any() for step in steps)
    untold = vector(2, max_steps=3, auto_reset=False)
    untold.reset(0)
    last = play(untold, chosen[:3])[-1]
    final = steps[2].final
    assert final is not None
    assert final.rows.tolist() == [0, 1]
    assert same(final.observations, last.observations)
    assert not same(final.observations, steps[2].observations)
    starts = [scene.frames[-1] for scene in SCENES]
    assert all(any(np.array_equal(frame, start) for start in starts) for frame in steps[2].observations["frame"][:, 0])


def test_a_world_that_ends_starts_anew_alone() -> None:
    going = VectorRollout(RealWorlds([ArenaWorld(2, (4, 4), length=k) for k in (2, 5)]), ("frame",))
    going.reset(0)
    noop = np.zeros((2, 2), np.int64)
    steps = [going.step(noop) for _ in range(5)]
    assert [step.ended.tolist() for step in steps] == [
        [False, False],
        [True, False],
        [False, False],
        [True, False],
        [False, True],
    ]
    assert not any(step.truncated.any() for step in steps)
    assert [None if s.final is None else s.final.rows.tolist() for s in steps] == [None, [0], None, [0], [1]]
    final, before = steps[-1].final, steps[-2].observations["frame"]
    assert final is not None
    assert (final.observations["frame"][0] == before[1]).mean() > 0.9, "nobody moved, a coin may have come"
    assert (steps[-1].observations["frame"][1] == before[1]).mean() < 0.9


def test_the_end_comes_before_the_limit() -> None:
    going = VectorRollout(RealWorlds([ArenaWorld(2, (4, 4), length=2)]), ("frame",), max_steps=2)
    going.reset(0)
    step = [going.step([[0, 0]]) for _ in range(2)][-1]
    assert (step.ended.tolist(), step.truncated.tolist()) == ([True], [False])


def test_a_network_that_fails_cuts_that_episode_only() -> None:
    going = VectorRollout(Broken(rollout(), SCENES, 3), ("state",))
    going.reset(0)
    step = going.step(actions(1, 3)[0])
    assert step.truncated.tolist() == [False, True, False]
    assert step.final is not None
    assert step.final.rows.tolist() == [1]


@pytest.mark.parametrize(("finite", "reward"), [(False, np.nan), (False, 1.0), (True, np.nan), (True, np.inf)])
def test_who_learns_never_sees_the_rewards_of_a_network_that_fails(
    monkeypatch: pytest.MonkeyPatch, finite: bool, reward: float
) -> None:
    made = rollout()
    step = made.step

    def failing(chosen: Ints) -> RolloutStep:
        answer = step(chosen)
        rewards = np.full_like(answer.rewards, 2)
        rewards[1, 2] = reward
        return replace(answer, rewards=rewards, finite=np.array([True, finite, True]))

    monkeypatch.setattr(made, "step", failing)
    going = VectorRollout(GeneratedWorlds(made, SCENES, 3), ("state",))
    going.reset(0)
    told = going.step(actions(1, 3)[0])
    assert told.rewards.tolist() == [[2, 2, 2], [0, 0, 0], [2, 2, 2]]
    assert told.rewards.dtype == np.float32
    assert told.truncated.tolist() == [False, True, False]


def test_without_auto_reset_somebody_has_to_restart() -> None:
    going, chosen = vector(3, max_steps=2, auto_reset=False), actions(3, 3)
    going.reset(0)
    first = play(going, chosen[:2])[-1]
    assert first.truncated.all()
    assert first.final is None
    with pytest.raises(InvalidInputError, match=r"over \(worlds \[0, 1, 2\]\)"):
        going.step(chosen[2])
    before = going.frames.copy()
    told = going.restart([1, 1])
    np.testing.assert_array_equal(told["frame"][[0, 2], 0], before[[0, 2]])
    with pytest.raises(InvalidInputError, match=r"over \(worlds \[0, 2\]\)"):
        going.step(chosen[2])
    going.restart([0, 2])
    assert not going.step(chosen[2]).truncated.any()
    for row in (3, -1, 1.5, "0"):
        with pytest.raises(
            InvalidInputError, match="row of a world must be a whole number of at least 0 and at most 2"
        ):
            going.restart([row])  # type: ignore[list-item]


def test_one_episode_may_start_from_a_given_scene() -> None:
    going = vector(2)
    going.reset(0, SCENES[2])
    assert all((frame == SCENES[2].frames[-1]).all() for frame in going.frames)
    with pytest.raises(InvalidInputError, match="no start for"):
        going.reset(0, replace(SCENES[2], world=replace(SCENES[2].world, name="coins")))
    real = VectorRollout(RealWorlds([ArenaWorld(SUBJECTS, GRID)]))
    with pytest.raises(InvalidInputError, match="can't start from a scene"):
        real.reset(0, SCENES[2])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.zeros((1, SUBJECTS), int), "shape"),
        (np.zeros((2, SUBJECTS + 1), int), "shape"),
        (np.zeros((2, SUBJECTS)), "integer"),
        (np.array([[0, 0, 0], [0, 9, 0]]), "action 9 of subject 1 in world 1"),
        (np.array([[0, 0, -1], [0, 0, 0]]), "action -1 of subject 2 in world 0"),
        ([[0, 0, 0], [0]], "differ in length"),
    ],
)
def test_wrong_actions_are_refused_and_change_nothing(wrong: Any, says: str) -> None:
    going, other = vector(2), vector(2)
    assert same(going.reset(0), other.reset(0))
    with pytest.raises(InvalidInputError, match=says):
        going.step(wrong)
    assert equal(going.step(actions(1, 2)[0]), other.step(actions(1, 2)[0]))


@pytest.mark.parametrize("made", [vector, real])
@pytest.mark.parametrize(
    ("seed", "says"),
    [
        (-1, "whole number of at least 0 and at most 9223372036854775807, but is -1"),
        (2**63, "at most 9223372036854775807"),
        (2**63 - 1, "at most 9223372036854775807"),  # of the second world
        (2**70, "at most 9223372036854775807"),
        (1.5, "whole number .* but is 1.5"),
        ("x", "whole number .* but is 'x'"),
        (True, "whole number .* but is True"),
        ([1.5, 2], "whole number .* but is 1.5"),
        ([1, None], "whole number .* but is None"),
        ([1, -2], "whole number .* but is -2"),
        ([1], "one for each of the 2 worlds, but got 1"),
        ([1, 2, 3], "one for each of the 2 worlds, but got 3"),
    ],
)
def test_wrong_seeds_are_refused_and_change_nothing(made: Any, seed: Any, says: str) -> None:
    going, other = made(2), made(2)
    assert same(going.reset(0), other.reset(0))
    with pytest.raises(InvalidInputError, match=f"seed.*{says}"):
        going.reset(seed)
    assert same(going.reset(), other.reset())


@pytest.mark.parametrize("made", [vector, real])
def test_numbers_of_numpy_are_numbers(made: Any) -> None:
    a, b = made(2, max_steps=np.int32(5)), made(2, max_steps=5)
    for seed in (np.int64(7), np.array(7), np.array([7, 8], np.uint8), [np.int16(7), 8]):
        assert same(a.reset(seed), b.reset(7))
    assert same(a.reset(2**63 - 2), b.reset([2**63 - 2, 2**63 - 1])), "the largest seeds"


@pytest.mark.parametrize("steps", [0, -1, 2.5, "9", None, True])
def test_episodes_have_whole_numbers_of_steps(steps: Any) -> None:
    with pytest.raises(InvalidInputError, match="max_steps must be a whole number of at least 1, but is"):
        vector(max_steps=steps)


@pytest.mark.parametrize("made", [vector, real])
def test_a_start_that_is_no_scene_is_refused(made: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"actionparty\.Scene"):
        made(1).reset(0, "3")


def test_nothing_goes_before_reset_or_after_close() -> None:
    going = vector(2)
    for use in (lambda: going.step([[0] * 3] * 2), lambda: going.restart([0]), lambda: going.frames):
        with pytest.raises(InvalidInputError, match="call reset"):
            use()
    going.reset(0)
    going.close()
    with pytest.raises(InvalidInputError, match="call reset"):
        going.step([[0] * 3] * 2)
