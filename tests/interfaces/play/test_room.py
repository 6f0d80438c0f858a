from __future__ import annotations

import numpy as np
import pytest
from tests.interfaces.play.stage import OTHER, SCENES, SPEC, WORLD, Stage, equal, index, kinds, refused

from actionparty.interfaces.play import audience
from actionparty.interfaces.play.jobs import Begin, Step
from actionparty.interfaces.play.seats import HOLD_SECONDS


def actions(stage: Stage) -> list[int]:
    shown = stage.room.shown
    assert shown is not None
    return [int(a) for a in shown.actions]


def idle_seats(stage: Stage) -> None:
    for i in range(SPEC.subjects):
        stage.do(1, type="seat", subject=i, kind="idle")


def test_who_joins_is_told_everything_at_once(stage: Stage) -> None:
    (welcome,) = stage.join(1, "Ann")
    fields = welcome.fields
    assert fields["world"]["actions"] == list(SPEC.actions)
    assert fields["world"]["grid"] == list(SPEC.grid)
    assert len(fields["seats"]) == fields["world"]["subjects"] == SPEC.subjects
    assert not any(seat["mine"] for seat in fields["seats"])
    assert kinds(stage.join(2)) == ["welcome", "seats"], "the others hear of a newcomer"


def test_a_room_without_anybody_generates_its_first_frame_and_waits(stage: Stage) -> None:
    stage.settle()
    assert stage.room.history.last == 0
    assert stage.room.next_time(stage.now) is None
    stage.join(1)
    stage.run(2)
    stage.room.leave(1, stage.now)
    assert stage.room.next_job(stage.now + 60) is None


def test_the_tick_is_kept_and_a_late_machine_goes_on_at_once(stage: Stage) -> None:
    stage.join(1)
    stage.run(9)
    assert stage.now - 100 == pytest.approx(8 / 8)
    assert stage.room.pace.real_hz == pytest.approx(8)
    assert not stage.room.status().fields["slow"]
    stage.now += 10.0
    assert stage.room.next_time(stage.now) is not None
    stage.run(1)
    assert stage.room.next_time(stage.now) == pytest.approx(stage.now + 1 / 8), "missed ticks are not made up for"


def test_a_slow_machine_says_so(stage: Stage) -> None:
    stage.join(1)
    stage.settle()
    for _ in range(8):
        job = stage.room.next_job(stage.now)
        assert job is not None
        stage.now += 0.5
        stage.room.done(job, stage.work(job), stage.now)
    status = stage.room.status().fields
    assert status["slow"]
    assert status["real_hz"] == pytest.approx(2)
    assert "2.0 of 8" in status["message"]


def test_each_key_moves_its_own_subject_only(stage: Stage) -> None:
    stage.join(1)
    stage.join(2)
    stage.do(1, type="take", subject=0)
    stage.do(2, type="take", subject=2)
    for i in (1, *range(3, SPEC.subjects)):
        stage.do(1, type="seat", subject=i, kind="idle")
    stage.run(1)
    stage.do(1, type="act", action="forward", hold=False)
    stage.do(2, type="act", action="turn_left", hold=True)
    stage.run(1)
    wanted = [0] * SPEC.subjects
    wanted[0], wanted[2] = index("forward"), index("turn_left")
    assert actions(stage) == wanted
    stage.run(1)
    wanted[0] = index("noop")
    assert actions(stage) == wanted, "a tap is one action, a held key goes on"
    stage.do(2, type="release")
    stage.run(1)
    assert actions(stage) == [0] * SPEC.subjects


def test_a_key_pressed_and_let_go_between_two_steps_is_not_lost(stage: Stage) -> None:
    stage.join(1)
    idle_seats(stage)
    stage.do(1, type="take", subject=1)
    stage.run(1)
    stage.do(1, type="act", action="forward", hold=True)
    stage.do(1, type="release")
    stage.run(1)
    assert actions(stage)[1] == index("forward")
    stage.run(1)
    assert actions(stage)[1] == index("noop")


def test_a_seat_is_for_one_person_and_a_person_has_one_seat(stage: Stage) -> None:
    stage.join(1, "Ann")
    stage.join(2, "Bob")
    stage.do(1, type="take", subject=0)
    assert "Ann" in refused(stage.do(2, type="take", subject=0), "taken")
    stage.do(1, type="take", subject=1)
    owners = [seat.member for seat in stage.room.table.seats]
    assert owners[:2] == [None, 1]
    assert stage.room.table.seats[0].kind == "policy"
    assert "Ann" in refused(stage.do(1, type="seat", subject=1, kind="idle"))
    stage.do(1, type="leave")
    assert refused(stage.do(1, type="act", action="forward"), "no_seat")
    assert refused(stage.do(2, type="take", subject=SPEC.subjects))
    stage.do(2, type="take", subject=1)
    assert "Did you mean" in refused(stage.do(2, type="act", action="forwart"))


def test_a_lost_seat_is_held_and_given_back_by_its_token(stage: Stage) -> None:
    stage.join(1)
    welcome = stage.join(2, "Bob")[0]
    stage.do(2, type="take", subject=1)
    stage.run(1)
    stage.room.leave(2, stage.now)
    seat = stage.room.table.seats[1]
    assert seat.kind == "human"
    assert seat.held_until == stage.now + HOLD_SECONDS
    assert "held" in refused(stage.do(1, type="take", subject=1), "taken")
    stage.run(8)
    assert actions(stage)[1] == index("noop"), "nobody moves a held subject"
    stage.join(3, "Mallory", "not the token")
    assert seat.member is None
    stage.join(4, "Bob", welcome.fields["token"])
    assert seat.member == 4
    assert seat.held_until is None


def test_a_seat_that_is_held_too_long_goes_to_a_policy(stage: Stage) -> None:
    stage.join(1)
    token = stage.join(2)[0].fields["token"]
    stage.do(2, type="take", subject=1)
    stage.settle()
    stage.do(2, type="pause")
    stage.room.leave(2, stage.now)
    assert stage.room.next_time(stage.now) == stage.now + HOLD_SECONDS
    stage.now += HOLD_SECONDS
    assert kinds(stage.room.tend(stage.now)) == ["seats"]
    assert stage.room.table.seats[1].kind == "policy"
    stage.join(3, "late", token)
    assert stage.room.table.of(3) is None


def test_policies_play_the_free_seats(stage: Stage) -> None:
    stage.join(1)
    stage.do(1, type="seat", subject=0, kind="idle")
    stage.do(1, type="seat", subject=1, kind="random")
    stage.run(30)
    played = np.stack([stage.room.history[i].actions for i in range(1, 31)])
    assert (played[:, 0] == 0).all()
    assert len(set(played[:, 1].tolist())) > 2
    assert len(set(played[:, 2].tolist())) > 2


def test_pause_step_resume(stage: Stage) -> None:
    stage.join(1)
    stage.run(3)
    stage.do(1, type="pause")
    assert stage.room.next_job(stage.now + 5) is None
    stage.do(1, type="step")
    stage.do(1, type="step")
    stage.settle()
    assert stage.room.history.last == 5
    assert stage.room.paused
    stage.do(1, type="resume")
    stage.run(2)
    assert stage.room.history.last == 7


def test_speed_is_within_limits(stage: Stage) -> None:
    stage.join(1)
    stage.do(1, type="speed", hz=2)
    before = stage.now
    stage.run(5)
    assert stage.now - before == pytest.approx(4 / 2)


def test_reset_starts_again_and_the_same_seed_gives_the_same(stage: Stage) -> None:
    stage.join(1)
    idle_seats(stage)
    stage.run(6)
    first = stage.frames()
    said = stage.do(1, type="reset", seed=7)
    assert said == []
    stage.settle()
    assert stage.room.history.last == 0
    assert stage.room.history.branch == 2
    stage.run(6)
    assert equal(stage.frames(), first)
    stage.do(1, type="reset", scene=1)
    stage.run(6)
    assert not equal(stage.frames(), first)
    assert f"0 to {SCENES - 1}" in refused(stage.do(1, type="reset", scene=77))


def test_another_world_keeps_the_people(stage: Stage) -> None:
    stage.join(1)
    stage.join(2)
    stage.do(1, type="take", subject=1)
    stage.do(2, type="take", subject=SPEC.subjects - 1)
    stage.run(2)
    stage.do(1, type="world", world=OTHER, scene=2)
    said = stage.once()
    assert said is not None
    assert kinds(said) == ["welcome", "welcome"]
    assert said[0].fields["world"]["subjects"] == 2
    stage.run(2)
    assert stage.frame.shape == (48, 56, 3)
    assert stage.room.table.of(1) is not None
    assert stage.room.table.of(2) is None, "there is no such subject in this world"
    assert "Did you mean" in refused(stage.do(1, type="world", world="aren"))


def test_only_players_steer_while_there_are_any(stage: Stage) -> None:
    stage.join(1)
    stage.join(2)
    assert stage.do(2, type="pause")[0].type == "status"
    stage.do(1, type="take", subject=0)
    wishes = ({"type": "resume"}, {"type": "reset"}, {"type": "world", "world": OTHER}, {"type": "speed", "hz": 1})
    for fields in wishes:
        assert "take a seat" in refused(stage.do(2, **fields))
    stage.do(2, type="take", subject=1)
    assert stage.do(2, type="resume")[0].type == "status"


def test_looking_back_shows_the_very_frames_and_forgets_nothing(stage: Stage) -> None:
    stage.join(1)
    seen = []
    stage.settle()
    for _ in range(8):
        live = stage.room.timeline.live
        assert live is not None
        seen.append(live.frame)
        stage.run(1)
    assert "pause first" in refused(stage.do(1, type="scrub", step=2))
    stage.do(1, type="pause")
    for step in (5, 0, 7):
        stage.do(1, type="scrub", step=step)
        assert np.array_equal(stage.frame, seen[step])
    assert "not kept" in refused(stage.do(1, type="scrub", step=99))
    stage.do(1, type="resume")
    assert stage.room.shown is not None
    assert stage.room.shown.step == 8


def test_a_fork_with_the_same_actions_is_the_same_and_with_others_is_not(stage: Stage) -> None:
    stage.join(1)
    stage.run(12)
    history = stage.room.history
    played = [history[i].actions for i in range(13)]
    before = stage.frames()
    stage.do(1, type="fork", step=4)
    assert (stage.room.history.branch, history.last, stage.room.paused) == (2, 4, False)
    snapshot = history.snapshot(4)
    again = before[:5]
    for row in played[5:]:
        snapshot = stage.engine.step(snapshot, row).result().snapshot
        again.append(snapshot.frame)
    assert equal(again, before)
    idle_seats(stage)
    stage.run(8)
    assert equal(stage.frames()[:5], before[:5])
    assert not equal(stage.frames(), before)


def test_a_step_that_a_fork_overtakes_is_dropped(stage: Stage) -> None:
    stage.join(1)
    stage.run(3)
    stage.now += 1
    job = stage.room.next_job(stage.now)
    assert isinstance(job, Step)
    stage.do(1, type="fork", step=1)
    assert stage.room.done(job, stage.work(job), stage.now) == []
    assert stage.room.history.last == 1
    stage.run(1)
    assert stage.room.history.last == 2


def test_only_the_last_steps_are_kept(stage: Stage) -> None:
    short = Stage(stage.menu.homes[WORLD], limit=10)
    short.join(1)
    short.run(40)
    history = short.room.history
    assert (history.first, history.last) == (30, 40)
    short.do(1, type="fork", step=30)
    short.run(1)
    assert history.last == 31
    assert refused(short.do(1, type="fork", step=29))
    short.close()


def test_a_failing_model_stops_the_room_and_can_be_restarted(stage: Stage) -> None:
    stage.join(1)
    stage.run(3)
    stage.now += 1
    job = stage.room.next_job(stage.now)
    assert job is not None
    (status,) = stage.room.failed(job, RuntimeError("secret detail"), stage.now)
    assert status.fields["paused"]
    assert "RuntimeError" in status.fields["message"]
    assert "secret" not in status.fields["message"]
    assert stage.room.next_job(stage.now + 9) is None
    stage.do(1, type="resume")
    stage.run(2)
    assert stage.room.history.last == 5
    stage.do(1, type="reset")
    begin = stage.room.next_job(stage.now)
    assert isinstance(begin, Begin)
    stage.room.failed(begin, MemoryError(), stage.now)
    stage.do(1, type="reset")
    stage.run(1)
    assert stage.room.status().fields["message"] is None


@pytest.mark.parametrize("how", ["resume", "step"])
def test_a_start_that_fails_is_tried_again(stage: Stage, how: str) -> None:
    stage.join(1)
    for attempt in range(3):
        begin = stage.room.next_job(stage.now)
        assert isinstance(begin, Begin)
        (status,) = stage.room.failed(begin, MemoryError(), stage.now)
        assert "at this start" in status.fields["message"]
        assert stage.room.next_time(stage.now) is None, "nothing is due, so that nobody spins"
        assert stage.room.next_job(stage.now + 9) is None
        assert stage.room.shown is None
        assert "message" in stage.do(1, type="pause")[0].fields
        assert stage.room.next_job(stage.now + 9) is None, "pausing tries nothing"
        (status,) = stage.do(1, type=how)
        assert status.fields["message"] is None, attempt
    stage.settle()
    assert stage.room.history.last == (0 if how == "resume" else 1)
    stage.do(1, type="resume")
    stage.run(2)
    assert not stage.room.paused


def test_an_edit_that_fails_to_start_is_tried_again_with_its_seats(stage: Stage) -> None:
    stage.join(1)
    stage.run(2)
    stage.do(1, type="pause")
    stage.do(1, type="edit", ops=[{"op": "remove", "subject": 0}])
    begin = stage.room.next_job(stage.now)
    assert isinstance(begin, Begin)
    stage.room.failed(begin, RuntimeError(), stage.now)
    assert stage.room.next_time(stage.now) is None
    stage.do(1, type="resume")
    stage.settle()
    assert stage.room.history.last == 3, "it comes after what was played"
    assert len(stage.room.table.seats) == SPEC.subjects - 1
    stage.do(1, type="reset")
    begin = stage.room.next_job(stage.now)
    assert isinstance(begin, Begin)
    stage.room.failed(begin, RuntimeError(), stage.now)
    stage.do(1, type="fork", step=1)
    stage.run(1)
    assert stage.room.history.last == 2, "a fork leaves the failed start behind"


def test_without_a_rollout_nothing_is_due(stage: Stage) -> None:
    stage.join(1)
    assert isinstance(stage.room.next_job(stage.now), Begin)
    stage.do(1, type="step")
    assert stage.room.next_time(stage.now + 9) is None
    stage.room.work.overtake()  # as if the start had never been wanted
    assert stage.room.next_time(stage.now + 9) is None
    assert stage.room.next_job(stage.now + 9) is None


def test_a_fast_room_is_held_to_the_usual_tick_while_others_wait(stage: Stage) -> None:
    stage.join(1)
    stage.do(1, type="speed", hz=30)
    stage.settle()
    stage.run(2)
    for held, hz in ((True, 8), (False, 30)):
        stage.room.pace.held = held
        stage.run(1)
        before = stage.now
        stage.run(6)
        assert (stage.now - before) * hz == pytest.approx(6)
    stage.do(1, type="speed", hz=2)
    stage.room.pace.held = True
    stage.run(1)
    before = stage.now
    stage.run(2)
    assert (stage.now - before) * 2 == pytest.approx(2), "a slow one stays slow"


def test_a_full_room_says_so(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "MOST_MEMBERS", 2)
    stage.join(1)
    stage.join(2)
    with pytest.raises(Exception, match="full"):
        stage.join(3)


def test_names_are_cleaned(stage: Stage) -> None:
    stage.join(1, "A\u0007nn\u202e\n")
    stage.join(2, "\n\t")
    assert [member.name for member in stage.room.audience.members.values()] == ["Ann", "guest 2"]


def test_an_edit_comes_after_what_was_played_and_can_be_undone(stage: Stage) -> None:
    stage.join(1)
    stage.run(4)
    before = stage.frames()
    add = {"op": "add", "x": 1, "y": 1}
    assert "pause first" in refused(stage.do(1, type="edit", ops=[add]))
    stage.do(1, type="pause")
    record = stage.room.shown
    assert record is not None
    free = next(
        (x, y)
        for y in range(1, SPEC.grid[0] - 1)
        for x in range(1, SPEC.grid[1] - 1)
        if (x, y) not in {tuple(c) for c in record.states.cells.tolist()}
    )
    add = {"op": "add", "x": free[0], "y": free[1]}
    stage.do(1, type="edit", ops=[add])
    said = stage.once()
    assert said is not None
    assert kinds(said) == ["welcome"]
    assert stage.room.history.last == 5
    assert stage.room.spec.subjects == len(stage.room.table.seats) == SPEC.subjects + 1
    stage.do(1, type="resume")
    stage.run(2)
    assert stage.room.shown is not None
    assert len(stage.room.shown.actions) == SPEC.subjects + 1
    stage.do(1, type="pause")
    said = stage.do(1, type="fork", step=4)
    assert kinds(said) == ["welcome"]
    assert stage.room.spec.subjects == SPEC.subjects
    stage.run(1)
    assert equal(stage.frames()[:5], before)


def test_a_subject_with_a_person_is_not_removed(stage: Stage) -> None:
    stage.join(1, "Ann")
    stage.do(1, type="take", subject=1)
    stage.settle()
    stage.do(1, type="pause")
    assert "Ann" in refused(stage.do(1, type="edit", ops=[{"op": "remove", "subject": 1}]))
    stage.do(1, type="edit", ops=[{"op": "remove", "subject": 0}])
    stage.settle()
    assert stage.room.table.of(1) is stage.room.table.seats[0], "the seat moves up with its subject"
    assert stage.room.world == WORLD
