from __future__ import annotations

import numpy as np
from tests.evaluation import toy

from actionparty.evaluation.moves import OPEN, SOLID, UNKNOWN, move_table, obeyed
from actionparty.evaluation.probes import certain_outcomes, change_one, exchanged, isolated, swap_pairs
from actionparty.types import SubjectStates

MOVES = move_table(toy.ACTIONS)
OPENED = np.ones((1, 9, 13), bool)


def states(*subjects: tuple[int, int, int]) -> SubjectStates:
    """One frame of subjects given as x, y, facing."""
    array = np.array(subjects)
    return SubjectStates(array[None, :, :2].astype(np.float32), array[None, :, 2], np.ones((1, len(array)), bool))


def test_moves_are_relative_to_the_facing() -> None:
    before = (np.array([[5, 5]] * 4), np.array([0, 1, 2, 3]))
    after = (np.array([[5, 4], [6, 5], [5, 6], [4, 5]]), before[1])
    free = np.full(4, OPEN), np.zeros(4, bool)
    assert obeyed(before, after, MOVES[[1] * 4], *free).all()
    assert obeyed(before, after, MOVES[[3, 3, 3, 3]], *free).sum() == 0
    east_of_north = (before[0] + [[1, 0]], before[1])
    assert obeyed(before, east_of_north, MOVES[[4, 1, 3, 2]], *free).all()
    turned = (before[0], np.array([1, 2, 3, 0]))
    assert obeyed(before, turned, MOVES[[6] * 4], *free).all()
    assert not obeyed(before, turned, MOVES[[5] * 4], *free).any()


def test_staying_obeys_a_step_only_where_something_may_be_in_the_way() -> None:
    place = (np.array([[5, 5]] * 5), np.zeros(5, np.int64))
    gone = (np.array([[5, 4]] * 5), np.zeros(5, np.int64))
    passable = np.array([OPEN, UNKNOWN, SOLID, OPEN, SOLID])
    contested = np.array([False, False, False, True, True])
    assert obeyed(place, place, MOVES[[1] * 5], passable, contested).tolist() == [False, True, True, True, True]
    assert obeyed(place, gone, MOVES[[1] * 5], passable, contested).tolist() == [True, True, False, True, False]
    assert obeyed(place, place, MOVES[[7] * 5], passable, contested).all()
    assert not obeyed(place, gone, MOVES[[0] * 5], passable, contested).any()


def test_one_changed_action_is_another_action_of_a_living_subject() -> None:
    actions = np.random.default_rng(0).integers(0, 8, (200, 4))
    alive = np.random.default_rng(1).random((200, 4)) < 0.5
    change = change_one(actions, alive, 8, np.random.default_rng(2))
    assert ((change.actions != actions).sum(1) == 1).all()
    rows = np.flatnonzero(change.valid)
    assert np.array_equal(rows, np.flatnonzero(alive.any(1)))
    assert alive[rows, change.who[rows, 0]].all()
    assert change.actions.min() >= 0
    assert change.actions.max() < 8


def test_isolation_counts_far_subjects_only() -> None:
    context = states((5, 5, 0), (8, 5, 0), (9, 5, 0), (5, 1, 0))
    other = states((5, 5, 1), (8, 6, 0), (9, 6, 0), (5, 1, 0))
    change = change_one(
        np.zeros((1, 4), np.int64), np.array([[True, False, False, False]]), 8, np.random.default_rng(0)
    )
    alike, counted = isolated(change, context, context, other)
    assert counted.tolist() == [[False, False, True, True]]
    assert alike.tolist() == [[False, False, False, True]]


def test_an_outcome_is_certain_for_turns_and_free_steps() -> None:
    certain = certain_outcomes(states((1, 0, 0), (6, 5, 0), (6, 3, 0)), MOVES, OPENED)[0]
    assert certain[0].tolist() == [False, False, True, True, True, True, True, False]  # the border is ahead
    assert certain[1].tolist() == [False, False, True, True, True, True, True, False]  # subject 2 may come or stay
    walls = np.zeros((1, 9, 13), bool)
    assert certain_outcomes(states((6, 5, 0)), MOVES, walls)[0, 0].tolist() == [False] * 5 + [True] * 2 + [False]


def test_a_swap_is_right_only_when_both_outcomes_are_exchanged() -> None:
    before, actions = states((3, 5, 0), (9, 5, 0)), np.array([[toy.FORWARD, toy.LEFT]])
    after = states((3, 4, 0), (9, 5, 3))
    change = swap_pairs(before, after, actions, MOVES, OPENED, np.random.default_rng(0))
    assert change.valid.tolist() == [True]
    assert change.actions.tolist() == [[toy.LEFT, toy.FORWARD]]
    swapped, half = states((3, 5, 3), (9, 4, 0)), states((3, 5, 3), (9, 5, 3))
    assert exchanged(change, before, MOVES, swapped).tolist() == [True]
    assert exchanged(change, before, MOVES, half).tolist() == [False]
    assert exchanged(change, before, MOVES, after).tolist() == [False]  # as if nothing had been exchanged


def test_there_is_no_swap_case_without_certainty() -> None:
    rng = np.random.default_rng(0)
    before = states((3, 5, 0), (9, 5, 0))
    moved, turned = states((3, 4, 0), (9, 4, 0)), states((3, 4, 0), (9, 5, 3))
    same = np.array([[toy.FORWARD, toy.FORWARD]])
    assert not swap_pairs(before, moved, same, MOVES, OPENED, rng).valid.any()
    actions = np.array([[toy.FORWARD, toy.LEFT]])
    assert not swap_pairs(
        before, before, actions, MOVES, OPENED, rng
    ).valid.any()  # the simulator did not carry them out
    assert not swap_pairs(before, turned, actions, MOVES, ~OPENED, rng).valid.any()
    dead = SubjectStates(before.position, before.facing, np.array([[True, False]]))
    assert not swap_pairs(dead, turned, actions, MOVES, OPENED, rng).valid.any()


def test_answers_that_are_not_finite_are_neither_isolated_nor_swapped() -> None:
    context = states((5, 5, 0), (9, 5, 0), (5, 1, 0))
    lost = SubjectStates(context.position * np.float32(np.nan), context.facing, context.alive)
    change = change_one(np.zeros((1, 3), np.int64), np.array([[True, False, False]]), 8, np.random.default_rng(0))
    assert isolated(change, context, lost, lost)[0].tolist() == [[False] * 3]
    assert isolated(change, context, lost, lost)[1].tolist() == [[False, True, True]]
    whole = np.array([True])
    assert isolated(change, context, context, context, whole)[0].tolist() == [[False, True, True]]
    assert not isolated(change, context, context, context, ~whole)[0].any()
    before, after = states((3, 5, 0), (9, 5, 0)), states((3, 4, 0), (9, 5, 3))
    pair = swap_pairs(before, after, np.array([[toy.FORWARD, toy.LEFT]]), MOVES, OPENED, np.random.default_rng(0))
    right = states((3, 5, 3), (9, 4, 0))
    assert exchanged(pair, before, MOVES, right, whole).tolist() == [True]
    assert exchanged(pair, before, MOVES, right, ~whole).tolist() == [False]
