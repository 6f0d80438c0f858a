"""Branches of what was played: what was left can be gone back to, exactly, within one bound for all of them."""

from __future__ import annotations

import numpy as np
import pytest
from tests.interfaces.play.stage import WORLD
from tests.interfaces.play.test_history import choices, play_on, played, same
from tests.rollout.samples import ARENA

from actionparty.errors import InvalidInputError
from actionparty.interfaces.play import history as history_module
from actionparty.interfaces.play import messages as m
from actionparty.interfaces.play.engine import Engine
from actionparty.interfaces.play.history import MOST_BRANCHES, History
from actionparty.interfaces.play.menu import ShippedMenu
from actionparty.rollout.snapshot import Snapshot
from actionparty.types import Scene


@pytest.fixture(scope="module")
def scene(request: pytest.FixtureRequest) -> Scene:
    return ShippedMenu(request.getfixturevalue("folder")).scene(WORLD, 0)


def told(history: History) -> list[tuple[int, int | None, int, int]]:
    """Number, fork, earliest record and newest step of every branch."""
    return [(b.number, b.forked, b.records[0].step, b.records[-1].step) for b in history.branches()]


def snapshots_of(history: History) -> dict[int, Snapshot]:
    return {step: history.snapshot(step) for step in range(history.first, history.last + 1)}


def unchanged(history: History, before: dict[int, Snapshot]) -> bool:
    """Whether all steps that are kept of a branch are as they were, the newest one included."""
    steps = range(history.first, history.last + 1)
    return history.last == max(before) and all(same(history.snapshot(step), before[step]) for step in steps)


def test_a_branch_that_was_left_is_gone_back_to_exactly(engine: Engine, scene: Scene) -> None:
    history, _ = played(engine, scene, 20)
    first = snapshots_of(history)
    history.fork(6)
    play_on(engine, history, choices(9, seed=1))
    second = snapshots_of(history)
    assert told(history) == [(1, None, 0, 20), (2, 6, 0, 15)]
    assert not same(first[8], second[8])
    history.switch(1)
    assert history.branch == 1
    assert unchanged(history, first)
    play_on(engine, history, choices(3, seed=2))
    history.switch(2)
    assert unchanged(history, second)
    assert told(history) == [(1, None, 0, 23), (2, 6, 0, 15)]


def test_steps_that_branches_share_are_kept_once(engine: Engine, scene: Scene) -> None:
    history, _ = played(engine, scene, 20)
    size = history.size()
    history.fork(15)
    play_on(engine, history, choices(5, seed=1))
    assert history.remembered() == 21 + 5
    assert history.size() < 1.5 * size


def test_a_branch_without_a_step_of_its_own_is_not_kept(engine: Engine, scene: Scene) -> None:
    history, _ = played(engine, scene, 8)
    history.fork(8)
    assert told(history) == [(2, 8, 0, 8)], "all of the first one is in the second"
    history.fork(3)
    history.fork(3)
    assert told(history) == [(2, 8, 0, 8), (4, 3, 0, 3)], "nothing was played in the third"
    history.switch(2)
    assert [number for number, *_ in told(history)] == [2]


def test_only_branches_that_were_left_are_switched_to(engine: Engine, scene: Scene) -> None:
    history, _ = played(engine, scene, 4)
    for number in (0, 1, 2, 77):
        with pytest.raises(InvalidInputError, match=f"branch {number} is not kept"):
            history.switch(number)
    assert history.branch == 1
    with pytest.raises(InvalidInputError, match="nothing was played"):
        History(ARENA.context).fork(0)


def test_all_branches_together_stay_within_the_bound(engine: Engine, scene: Scene) -> None:
    """The oldest steps go, whichever branch they are of; what is left stays exact, and the other branch dies last."""
    history, _ = played(engine, scene, 20, limit=30)
    bound = 30 + ARENA.context
    first = snapshots_of(history)
    history.fork(12)
    play_on(engine, history, choices(18, seed=1))
    assert history.remembered() == bound
    left, current = history.branches()
    assert left.records[0].step == current.records[0].step == 7, "39 were played, 7 of them are gone, in both branches"
    play_on(engine, history, choices(10, seed=2))
    left, current = history.branches()
    assert [record.step for record in left.records] == [17, 18, 19, 20]
    assert current.records[0].step == 13
    assert history.remembered() == bound
    second = snapshots_of(history)
    history.switch(1)
    assert unchanged(history, first)
    history.switch(2)
    assert unchanged(history, second)
    play_on(engine, history, choices(4, seed=3))
    assert [b.number for b in history.branches()] == [2], "nothing of the first is left that one could go on from"
    assert history.remembered() <= bound


def test_an_old_branch_can_be_gone_on_with_though_all_its_steps_are_the_oldest(engine: Engine, scene: Scene) -> None:
    history, _ = played(engine, scene, 20, limit=30)
    history.fork(12)
    play_on(engine, history, choices(27, seed=1))
    newer = snapshots_of(history)
    history.switch(1)
    known = history.snapshot(20)
    rows = choices(40, seed=4)
    expected = [known]
    for row in rows:
        expected.append(engine.step(expected[-1], row).result().snapshot)
    for i in range(0, 40, 5):
        play_on(engine, history, rows[i : i + 5])
        assert history.remembered() <= 30 + ARENA.context
        for step in range(max(20, history.first), history.last + 1):
            assert same(history.snapshot(step), expected[step - 20])
        if i == 10:
            history.switch(2)
            assert unchanged(history, newer)
            history.switch(1)
    assert [b.number for b in history.branches()] == [1]


def test_any_play_stays_within_the_bound_and_consistent(engine: Engine, scene: Scene) -> None:
    """A thousand random forks, switches and steps: what each branch says of its newest step never changes."""
    rng = np.random.default_rng(3)
    history, _ = played(engine, scene, 3, limit=40)
    step = engine.step(history.snapshot(3), choices(1)[0]).result()
    each, ends = history.size() / history.remembered(), {1: (3, history[3].serial)}
    for _ in range(1000):
        kind = rng.random()
        others = [b.number for b in history.branches() if b.number != history.branch]
        if kind < 0.15:
            history.fork(int(rng.integers(history.first, history.last + 1)))
        elif kind < 0.3 and others:
            history.switch(int(rng.choice(others)))
        else:
            history.append(step.snapshot, choices(1)[0], step.rewards)
        ends[history.branch] = (history.last, history[history.last].serial)
        branches = history.branches()
        assert history.remembered() <= 40 + ARENA.context
        assert len(branches) <= MOST_BRANCHES
        assert history.remembered() == len({r.serial for b in branches for r in b.records})
        assert history.size() <= 1.5 * each * (40 + ARENA.context)
        for branch in branches:
            steps = [record.step for record in branch.records]
            assert steps == list(range(steps[0], steps[-1] + 1)), "no gap within a branch"
            assert (steps[-1], branch.records[-1].serial) == ends[branch.number]
        assert len(history.snapshot(history.first).cells) == ARENA.context


def test_the_branch_left_longest_ago_makes_place(engine: Engine, scene: Scene) -> None:
    history, _ = played(engine, scene, 3)
    for _ in range(MOST_BRANCHES + 2):
        history.fork(2)
        play_on(engine, history, choices(1))
    numbers = [branch.number for branch in history.branches()]
    assert len(numbers) == MOST_BRANCHES
    assert numbers == list(range(4, MOST_BRANCHES + 4))
    assert history.remembered() == 3 + MOST_BRANCHES


def test_a_new_start_forgets_all_branches_and_an_edit_none(engine: Engine, scene: Scene) -> None:
    history, _ = played(engine, scene, 4)
    history.fork(2)
    play_on(engine, history, choices(1))
    history.begin(scene, engine.begin(scene, 9).result(), keep=True)
    assert told(history) == [(1, None, 0, 4), (2, 2, 0, 4)]
    history.switch(1)
    history.begin(scene, engine.begin(scene, 9).result())
    assert told(history) == [(3, None, 0, 0)]
    assert history.branches()[0].ordinal == 1
    assert history.remembered() == 1


def test_numbers_start_again_without_meeting_one_in_use(
    engine: Engine, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert history_module.NUMBERS == m.MOST_BRANCH == 65535, "they travel in two bytes, and 0 is none"
    monkeypatch.setattr(history_module, "NUMBERS", 4)
    history, _ = played(engine, scene, 4)
    for _ in range(9):
        history.fork(2)
        play_on(engine, history, choices(1))
        history.switch(1)
        assert len({b.number for b in history.branches()}) == len(history.branches())
        for branch in history.branches()[1:-1]:
            history._forget([branch.number])
    assert max(b.number for b in history.branches()) <= 4
