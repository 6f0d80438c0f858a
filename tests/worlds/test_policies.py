"""Recording policies: legal and repeatable actions, stickiness, and that seekers meet more than walkers do."""

from __future__ import annotations

import numpy as np
import pytest

from actionparty.errors import InvalidInputError, UnknownNameError
from actionparty.types import Ints, Observation, Policy, SubjectStates, WorldSpec
from actionparty.vocabulary import MOVES
from actionparty.worlds.arena import ArenaWorld
from actionparty.worlds.curious import CuriousPolicy, everyday
from actionparty.worlds.policies import POLICIES, MixedPolicy, StickyRandomPolicy, policy
from actionparty.worlds.seeking import SeekingPolicy, action_shares, salient_cells, tile_signatures


def observed(subjects: int = 3, alive: bool = True) -> Observation:
    position = np.stack([np.arange(subjects), np.ones(subjects)], -1).astype(np.float32)
    states = SubjectStates(position, np.zeros(subjects, np.int64), np.full(subjects, alive))
    return Observation(np.zeros((40, 80, 3), np.uint8), states, np.zeros(subjects, np.float32), False)


def play(actor: Policy, subjects: int, seed: int, steps: int, size: tuple[int, int] | None = None) -> list[Ints]:
    world = ArenaWorld(subjects, size=size, length=steps + 1)
    observation = world.reset(seed=seed)
    actor.reset(world.spec, seed)
    taken = []
    for _ in range(steps):
        taken.append(actor.act(observation))
        observation = world.step(taken[-1])
    return taken


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_actions_are_legal_and_follow_from_the_seed(name: str) -> None:
    first, again, other = (play(policy(name), 5, seed, 80) for seed in (3, 3, 4))
    assert all(actions.shape == (5,) and actions.dtype == np.int64 for actions in first)
    assert (np.array(first) == np.array(again)).all()
    assert not (np.array(first) == np.array(other)).all()
    assert set(np.unique(first)) <= set(range(9))


@pytest.mark.parametrize("name", sorted(POLICIES))
@pytest.mark.parametrize("actions", [MOVES, ("noop", "interact"), ("noop", "forward", "turn_left"), ("fire_1",)])
def test_a_world_may_lack_moves_or_effects(name: str, actions: tuple[str, ...]) -> None:
    actor = policy(name)
    actor.reset(WorldSpec("w", 3, (5, 10), actions), 0)
    taken = np.array([actor.act(observed()) for _ in range(200)])
    assert set(np.unique(taken)) == set(range(len(actions)))


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_subjects_that_are_all_away_still_get_actions(name: str) -> None:
    actor = policy(name)
    actor.reset(WorldSpec("w", 3, (5, 10), MOVES), 0)
    assert np.array([actor.act(observed(alive=False)) for _ in range(30)]).shape == (30, 3)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_single_subject_has_nobody_to_seek(name: str) -> None:
    assert len(play(policy(name), 1, 0, 60)) == 60


def test_full_stickiness_repeats_and_none_draws_by_the_shares() -> None:
    spec = WorldSpec("w", 64, (5, 10), (*MOVES, "interact", "fire_zap"))
    look = observed(64)
    stuck = StickyRandomPolicy(stickiness=1.0)
    stuck.reset(spec, 0)
    assert (stuck.act(look) == stuck.act(look)).all()
    free = StickyRandomPolicy(stickiness=0.0)
    free.reset(spec, 0)
    counts = np.bincount(np.concatenate([free.act(look) for _ in range(320)]), minlength=9)
    # 20,480 draws: a share is off by 0.02 with odds below one in 10^7
    assert np.abs(counts / counts.sum() - action_shares(spec.actions)).max() < 0.02


def test_the_share_of_repeats_is_that_of_the_stickiness() -> None:
    actor = StickyRandomPolicy(stickiness=0.5)
    spec = WorldSpec("w", 64, (5, 10), MOVES)
    actor.reset(spec, 0)
    taken = np.array([actor.act(observed(64)) for _ in range(321)])
    expected = 0.5 + 0.5 * float((action_shares(MOVES) ** 2).sum())
    assert abs(float((taken[1:] == taken[:-1]).mean()) - expected) < 0.02


def test_shares_sum_to_one_and_favour_walking() -> None:
    for actions in (MOVES, (*MOVES, "interact"), (*MOVES, "fire_1", "fire_2", "fire_3")):
        shares = action_shares(actions)
        assert shares.sum() == pytest.approx(1)
        assert shares.argmax() == actions.index("forward")


def test_where_nobody_turns_no_direction_is_better() -> None:
    shares = action_shares(("noop", "step_left", "step_right", "backward", "forward"))
    assert shares.sum() == pytest.approx(1)
    assert len(set(shares[1:].round(9))) == 1
    assert shares[0] < shares[1]


def neighbours(actor: Policy, seed: int) -> float:
    """The share of steps and subjects that stand next to another one."""
    world = ArenaWorld(4, size=(15, 17), coin_rate=0.0)
    observation = world.reset(seed=seed)
    actor.reset(world.spec, seed)
    shares = []
    for _ in range(200):
        observation = world.step(actor.act(observation))
        cells, alive = observation.states.cells, observation.states.alive
        near = np.abs(cells[:, None] - cells[None]).sum(-1) == 1
        shares.append(float((near & alive & alive[:, None]).any(1).mean()))
    return float(np.mean(shares))


def test_seekers_are_next_to_others_much_more_often() -> None:
    seeking = np.mean([neighbours(SeekingPolicy(), seed) for seed in range(6)])
    walking = np.mean([neighbours(StickyRandomPolicy(), seed) for seed in range(6)])
    assert seeking > 2 * walking


def test_a_seeker_walks_straight_to_the_only_other_subject() -> None:
    layout = "##########\n#>......<#\n##########"
    world = ArenaWorld(layout=layout, coin_rate=0.0)
    observation = world.reset(seed=0)
    actor = SeekingPolicy(epsilon=0.0, social=1.0)
    actor.reset(world.spec, 0)
    for _ in range(12):
        actions = actor.act(observation)
        observation = world.step(np.array([actions[0], 0]))
        if observation.states.cells[0, 0] == 7:
            break
    assert observation.states.cells[0].tolist() == [7, 1]


def test_in_mixed_play_some_seek_and_some_do_not() -> None:
    actor = MixedPolicy()
    spec = WorldSpec("w", 64, (9, 9), MOVES)
    actor.reset(spec, 0)
    first = actor.seeking
    assert 10 < first.sum() < 54
    actor.reset(spec, 1)
    assert not (actor.seeking == first).all()


def test_salient_is_what_is_rare_or_changed() -> None:
    now = np.zeros((10, 10), np.int64)
    now[2, 3], now[4, 5] = 7, 8
    assert np.argwhere(salient_cells(now, None)).tolist() == [[2, 3], [4, 5]]
    before = now.copy()
    before[9, 9] = 1
    assert np.argwhere(salient_cells(now, before)).tolist() == [[2, 3], [4, 5], [9, 9]]


def test_equal_tiles_have_equal_signatures() -> None:
    frame = np.zeros((24, 32, 3), np.uint8)
    frame[8:16, 8:16] = (10, 20, 30)
    frame[16:24, 24:32] = (10, 20, 30)
    signatures = tile_signatures(frame)
    assert signatures.shape == (3, 4)
    assert signatures[1, 1] == signatures[2, 3] != signatures[0, 0]
    assert len(np.unique(signatures)) == 2


def test_unknown_names_and_probabilities_out_of_range_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="seek"):
        policy("seeker")
    with pytest.raises(InvalidInputError, match="probability"):
        StickyRandomPolicy(stickiness=2)
    with pytest.raises(InvalidInputError, match="probabilities"):
        SeekingPolicy(epsilon=-1)


def test_everyday_is_what_fills_the_frame() -> None:
    signatures = np.zeros((10, 10), np.int64)
    signatures[0] = 7
    signatures[1, :6] = 8
    assert everyday(signatures) == {0, 7}


class Mine:
    """A subject that stands before ore: `interact` takes it for a step, `fire_zap` does nothing."""

    spec = WorldSpec("mine", 1, (6, 8), ("noop", "forward", "turn_left", "interact", "fire_zap"))

    def __init__(self) -> None:
        self.there = True

    def look(self) -> Observation:
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[8:16, 24:32] = 200 if self.there else 90
        states = SubjectStates(np.array([[3.0, 2.0]], np.float32), np.zeros(1, np.int64), np.ones(1, bool))
        return Observation(frame, states, np.zeros(1, np.float32), False)


def test_a_curious_subject_does_again_what_worked() -> None:
    mine, actor, taken = Mine(), CuriousPolicy(epsilon=0.1), np.zeros(5, np.int64)
    actor.reset(mine.spec, 5)
    for _ in range(600):
        action = int(actor.act(mine.look())[0])
        mine.there = not (mine.there and action == 3)
        taken[action] += 1
    assert taken[3] > 3 * taken[4], "the effect that works is used most"
    assert taken[4] > 5, "the other one was tried"
    seeker, plain = SeekingPolicy(epsilon=0.1), np.zeros(5, np.int64)
    seeker.reset(mine.spec, 5)
    for _ in range(600):
        plain[int(seeker.act(mine.look())[0])] += 1
    assert taken[3] / taken[3:].sum() > plain[3] / plain[3:].sum() + 0.1
