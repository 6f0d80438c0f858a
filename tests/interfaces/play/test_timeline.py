"""A room whose people look back, branch off and go back to what they left."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.interfaces.play.stage import OTHER, SPEC, Stage, equal, kinds, refused

from actionparty.interfaces.play.jobs import Begin, Step
from actionparty.interfaces.play.messages import Said


def idle_seats(stage: Stage) -> None:
    for i in range(SPEC.subjects):
        stage.do(1, type="seat", subject=i, kind="idle")


def fields(said: list[Said]) -> dict[str, Any]:
    (only,) = said
    return only.fields


def branched(stage: Stage) -> tuple[list[Any], list[Any]]:
    """Play 9 steps, then 6 others from step 4 on; return the frames of both branches."""
    stage.join(1)
    stage.run(9)
    first = stage.frames()
    stage.do(1, type="fork", step=4)
    idle_seats(stage)
    stage.run(6)
    return first, stage.frames()


def test_everybody_is_told_of_the_branches(stage: Stage) -> None:
    branched(stage)
    whole = [
        {"branch": 1, "ordinal": 1, "forked": None, "last": 9},
        {"branch": 2, "ordinal": 2, "forked": 4, "last": 10},
    ]
    assert stage.room.status().fields["branches"] == whole
    assert stage.join(2)[0].fields["branches"] == whole, "a late joiner too"


def test_going_back_to_a_branch_shows_its_newest_step_and_waits(stage: Stage) -> None:
    first, second = branched(stage)
    said = fields(stage.do(1, type="branch", branch=1))
    assert (said["branch"], said["step"], said["last"], said["paused"]) == (1, 9, 9, True)
    assert np.array_equal(stage.frame, first[-1])
    assert stage.room.next_job(stage.now + 5) is None
    assert equal(stage.frames(), first)
    stage.do(1, type="scrub", step=6)
    assert np.array_equal(stage.frame, first[6])
    stage.do(1, type="branch", branch=2)
    assert equal(stage.frames(), second)
    assert np.array_equal(stage.frame, second[-1]), "a branch is entered at its newest step"


def test_it_is_played_on_as_if_it_had_never_been_left(stage: Stage) -> None:
    first, _ = branched(stage)
    before = stage.room.timeline.live
    stage.do(1, type="branch", branch=1)
    live = stage.room.timeline.live
    assert live is not None
    assert before is not None
    idle = np.zeros(SPEC.subjects, np.int64)
    expected = stage.engine.step(live, idle).result().snapshot.frame
    stage.do(1, type="resume")
    stage.run(2)
    frames = stage.frames()
    assert equal(frames[:10], first)
    assert np.array_equal(frames[10], expected)
    assert stage.room.history.branch == 1
    stage.do(1, type="branch", branch=2)
    assert stage.room.timeline.live is not None
    assert np.array_equal(stage.room.timeline.live.frame, before.frame)


def test_a_step_that_is_overtaken_belongs_to_no_branch(stage: Stage) -> None:
    branched(stage)
    stage.now += 1
    job = stage.room.next_job(stage.now)
    assert isinstance(job, Step)
    stage.do(1, type="branch", branch=1)
    assert stage.room.done(job, stage.work(job), stage.now) == []
    assert [b["last"] for b in stage.room.status().fields["branches"]] == [9, 10]
    stage.do(1, type="step")
    stage.settle()
    assert stage.room.history.last == 10, "single steps work in a branch that was gone back to"


def test_only_who_steers_changes_the_branch_and_only_to_one_that_is_kept(stage: Stage) -> None:
    branched(stage)
    stage.join(2)
    stage.do(1, type="take", subject=0)
    assert "take a seat" in refused(stage.do(2, type="branch", branch=1))
    for number in (2, 3, 65535):
        assert f"branch {number} is not kept" in refused(stage.do(1, type="branch", branch=number))
    assert not stage.room.paused, "what is refused changes nothing"
    assert stage.do(1, type="branch", branch=1)[0].type == "status"


def test_an_edit_of_an_earlier_step_leaves_a_branch_with_its_own_subjects(stage: Stage) -> None:
    stage.join(1)
    stage.run(5)
    before = stage.frames()
    stage.do(1, type="pause")
    stage.do(1, type="scrub", step=3)
    stage.do(1, type="edit", ops=[{"op": "remove", "subject": 1}])
    stage.settle()
    stage.do(1, type="resume")
    stage.run(2)
    assert stage.room.spec.subjects == len(stage.room.table.seats) == SPEC.subjects - 1
    edited = stage.frames()
    said = stage.do(1, type="branch", branch=1)
    assert kinds(said) == ["welcome"]
    assert said[0].fields["world"]["subjects"] == len(said[0].fields["seats"]) == SPEC.subjects
    assert equal(stage.frames(), before)
    stage.do(1, type="resume")
    stage.run(1)
    assert len(stage.room.history[6].actions) == SPEC.subjects
    assert kinds(stage.do(1, type="branch", branch=2)) == ["welcome"]
    assert equal(stage.frames(), edited)


def test_a_new_beginning_forgets_the_branches(stage: Stage) -> None:
    branched(stage)
    stage.do(1, type="reset")
    stage.settle()
    (only,) = stage.room.status().fields["branches"]
    assert (only["ordinal"], only["forked"], only["last"]) == (1, None, 0)
    assert refused(stage.do(1, type="branch", branch=1))
    stage.do(1, type="world", world=OTHER)
    begin = stage.room.next_job(stage.now)
    assert isinstance(begin, Begin)
    assert len(stage.room.status().fields["branches"]) == 1


def test_a_room_that_failed_goes_on_in_another_branch(stage: Stage) -> None:
    first, _ = branched(stage)
    stage.now += 1
    job = stage.room.next_job(stage.now)
    assert job is not None
    stage.room.failed(job, RuntimeError(), stage.now)
    said = fields(stage.do(1, type="branch", branch=1))
    assert said["message"] is None
    stage.do(1, type="resume")
    stage.run(1)
    assert equal(stage.frames()[:10], first)


def test_a_room_remembers_so_many_steps_in_all_branches_together(stage: Stage) -> None:
    short = Stage(stage.menu.homes["arena"], limit=20)
    short.join(1)
    for _ in range(6):
        short.run(7)
        short.do(1, type="fork", step=short.room.history.last - 3)
    short.run(1)
    assert short.room.history.remembered() == 20 + short.menu.context
    told = short.room.status().fields
    assert 1 < len(told["branches"]) < 7, "the oldest are gone"
    assert all(branch["last"] >= 0 for branch in told["branches"])
    short.close()


def test_nothing_can_be_forked_before_the_first_frame(stage: Stage) -> None:
    stage.join(1)
    assert "nothing was played" in refused(stage.do(1, type="fork", step=0))
    assert stage.room.status().fields["branches"] == []
