"""What an agent notes between two looks, and when its plan counts as played."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
from tests.interfaces.play.stage import SPEC, Stage, index

from actionparty.interfaces.agents.eyes import Eyes
from actionparty.interfaces.agents.legend import Legend
from actionparty.interfaces.play.clients import Client
from actionparty.interfaces.play.messages import Said
from actionparty.interfaces.play.wire import Picture
from actionparty.types import SubjectStates

LEGEND = Legend.of_frames([np.zeros((8, 8, 3), np.uint8)])


def opened(stage: Stage) -> Eyes:
    """Eyes in seat 0 of a room that somebody drives by hand."""
    stage.join(1)
    stage.settle()
    live: Any = SimpleNamespace(room=stage.room)
    eyes = Eyes(live, Client(1))
    stage.do(1, type="take", subject=0)
    show(stage, eyes)
    return eyes


def show(stage: Stage, eyes: Eyes) -> None:
    record = stage.room.shown
    assert record is not None
    branch = stage.room.history.branch
    eyes.see(Picture(record.step, branch, record.frame, record.states, record.actions, record.rewards))


def test_a_plan_counts_as_played_when_its_last_step_is_seen_not_when_it_starts(stage: Stage) -> None:
    eyes = opened(stage)
    assert eyes.picture is not None
    branch = eyes.picture.branch
    under_way = stage.room.next_job(stage.now)
    assert under_way is not None
    stage.do(1, type="plan", actions=["turn_left"])
    assert not eyes._finished(branch)
    stage.room.done(under_way, stage.work(under_way), stage.now)
    show(stage, eyes)
    assert not eyes._finished(branch)
    stage.now += 1
    mine = stage.room.next_job(stage.now)
    assert mine is not None
    seat = eyes.seat
    assert seat is not None
    assert not seat.plan
    assert not eyes._finished(branch), "its step has only begun"
    stage.room.done(mine, stage.work(mine), stage.now)
    show(stage, eyes)
    assert eyes._finished(branch)


def scene(step: int, branch: int = 1, **told: Any) -> Picture:
    """A picture in which everybody faces north at (i, 5), and what ``told`` changes."""
    n = SPEC.subjects
    states = SubjectStates(
        np.array([(i, 5) for i in range(n)], np.float32), np.zeros(n, np.int64), np.array(told.get("alive", [True] * n))
    )
    states.position[0, 1] -= told.get("north", 0)
    actions = np.full(n, index(told.get("action", "noop")))
    rewards = np.zeros(n, np.float32)
    rewards[: len(told.get("rewards", []))] = told.get("rewards", [])
    return Picture(step, branch, np.zeros((80, 80, 3), np.uint8), states, actions, rewards)


def events(stage: Stage, *pictures: Picture, heard: str | None = None) -> tuple[list[str], list[float]]:
    eyes = opened(stage)
    for picture in pictures:
        eyes.see(picture)
    if heard:
        eyes.hear(Said("notice", {"message": heard}))
    seen = asyncio.run(eyes.look(LEGEND))
    again = asyncio.run(eyes.look(LEGEND))
    assert (list(again.events), sum(again.rewards)) == ([], 0), "told once"
    return list(seen.events), list(seen.rewards)


def test_rewards_are_summed_and_told_with_what_led_to_them(stage: Stage) -> None:
    told, rewards = events(
        stage, scene(8), scene(9, rewards=[1, -2], action="interact"), scene(10, rewards=[0.5], action="noop")
    )
    assert told == [
        "step 9: you received +1 after interact",
        "step 9: subject 1 received -2 after interact",
        "step 10: you received +0.5 after noop",
    ]
    assert rewards[:3] == [1.5, -2, 0]


def test_noise_of_the_reward_head_is_no_event(stage: Stage) -> None:
    assert events(stage, scene(8), scene(9, rewards=[0.004, -0.003]))[0] == []


def test_who_leaves_the_world_and_comes_back_is_told(stage: Stage) -> None:
    n = SPEC.subjects
    gone = scene(9, alive=[True, False, *[True] * (n - 2)])
    assert events(stage, scene(8), gone, scene(10))[0] == [
        "step 9: subject 1 left the world",
        "step 10: subject 1 came back",
    ]


def test_a_step_that_led_nowhere_was_blocked_and_turning_never_is(stage: Stage) -> None:
    told, _ = events(
        stage, scene(8), scene(9, action="forward"), scene(10, action="turn_left"), scene(11, action="forward", north=1)
    )
    assert told == ["step 9: your forward was blocked"]


def test_looking_back_and_other_branches_are_no_events(stage: Stage) -> None:
    told, rewards = events(
        stage, scene(8), scene(5, rewards=[1]), scene(6, branch=2, rewards=[1]), heard="Coins, scene 1."
    )
    assert told == ["Coins, scene 1"]
    assert sum(rewards) == 0
