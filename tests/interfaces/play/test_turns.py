"""Rooms that wait for agents, by a clock in the test's hand."""

from __future__ import annotations

from tests.interfaces.play.stage import Stage, index, refused

from actionparty.interfaces.play.turns import MOST_MISSED

AGENT, PERSON = 1, 2


def seated(stage: Stage, seconds: float | None = 5.0) -> None:
    """An agent in seat 0, a person in seat 1, and a room that waits."""
    for member, subject in ((AGENT, 0), (PERSON, 1)):
        stage.join(member)
        stage.room.audience.members[member].agent = member == AGENT
        stage.do(member, type="take", subject=subject)
    stage.do(AGENT, type="wait", seconds=seconds)
    stage.settle()


def last(stage: Stage) -> list[int]:
    shown = stage.room.shown
    assert shown is not None
    return [int(a) for a in shown.actions[:2]]


def due_in(stage: Stage) -> float:
    due = stage.room.next_time(stage.now)
    assert due is not None
    return due - stage.now


def test_a_step_waits_for_the_agent_and_then_plays_what_it_chose(stage: Stage) -> None:
    seated(stage)
    stage.do(PERSON, type="act", action="turn_right", hold=False)
    assert due_in(stage) == 5.0
    stage.now += 3
    assert stage.once() is None
    stage.do(AGENT, type="plan", actions=["turn_left"])
    assert due_in(stage) == 0
    stage.run(1)
    assert last(stage) == [index("turn_left"), index("turn_right")]
    assert due_in(stage) == 5.0


def test_who_is_late_plays_noop_and_the_room_goes_on(stage: Stage) -> None:
    seated(stage)
    began = stage.now
    stage.run(1)
    assert stage.now == began + 5
    assert last(stage)[0] == index("noop")


def test_who_stays_silent_is_not_waited_for_until_it_acts_again(stage: Stage) -> None:
    seated(stage)
    began = stage.now
    stage.run(MOST_MISSED)
    assert stage.now == began + 5 * MOST_MISSED
    stage.run(8)
    assert stage.now < began + 5 * MOST_MISSED + 1.5
    stage.do(AGENT, type="plan", actions=["turn_left"])
    stage.run(1)
    assert last(stage)[0] == index("turn_left")
    assert due_in(stage) > 4


def test_a_plan_is_played_one_action_a_step_and_noop_follows(stage: Stage) -> None:
    seated(stage, None)
    stage.do(AGENT, type="plan", actions=["turn_left", "turn_right", "turn_right", "forward", "turn_left"])
    played = []
    for _ in range(6):
        stage.run(1)
        played.append(last(stage)[0])
    names = ["turn_left", "turn_right", "turn_right", "forward", "turn_left", "noop"]
    assert played == [index(name) for name in names]


def test_an_unknown_action_leaves_the_plan_before_it_alone(stage: Stage) -> None:
    seated(stage, None)
    stage.do(AGENT, type="plan", actions=["turn_left"])
    assert "unknown action" in refused(stage.do(AGENT, type="plan", actions=["turn_right", "fly"]))
    stage.run(1)
    assert last(stage)[0] == index("turn_left")


def test_an_action_by_hand_overrules_the_plan(stage: Stage) -> None:
    seated(stage, None)
    stage.do(AGENT, type="plan", actions=["turn_left"] * 9)
    stage.do(AGENT, type="act", action="forward", hold=False)
    stage.run(1)
    assert last(stage)[0] == index("forward")
    stage.run(1)
    assert last(stage)[0] == index("noop")


def test_a_room_waits_neither_for_people_nor_for_empty_seats(stage: Stage) -> None:
    seated(stage)
    stage.do(AGENT, type="leave")
    began = stage.now
    stage.run(4)
    assert stage.now - began < 1


def test_a_seat_that_a_person_takes_after_an_agent_is_not_waited_for(stage: Stage) -> None:
    seated(stage)
    stage.do(AGENT, type="leave")
    stage.do(PERSON, type="take", subject=0)
    began = stage.now
    stage.run(4)
    assert stage.now - began < 1


def test_another_speed_ends_the_waiting_and_everybody_is_told(stage: Stage) -> None:
    seated(stage)
    (told,) = stage.do(AGENT, type="wait", seconds=2.5)
    assert (told.fields["waits"], told.fields["slow"]) == (2.5, False)
    assert "2.5 s" in told.fields["message"]
    (told,) = stage.do(PERSON, type="speed", hz=10)
    assert (told.fields["waits"], told.fields["message"]) == (None, None)
    began = stage.now
    stage.run(4)
    assert stage.now - began < 0.5


def test_a_spectator_can_not_make_a_room_wait(stage: Stage) -> None:
    seated(stage, None)
    stage.join(3)
    assert "take a seat" in refused(stage.do(3, type="wait", seconds=30))


def test_the_time_of_a_turn_starts_anew_after_a_pause_and_a_reset(stage: Stage) -> None:
    seated(stage)
    assert due_in(stage) == 5
    stage.now += 4
    stage.do(AGENT, type="pause")
    stage.do(AGENT, type="resume")
    assert due_in(stage) == 5
    stage.now += 4
    stage.do(AGENT, type="reset")
    stage.settle()
    assert due_in(stage) == 5
