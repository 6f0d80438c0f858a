"""The worst cases of an evaluation, for people: which subject went wrong when, and where it should have been.

Knows records; whether an action was obeyed is theirs to say, never judged again here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from actionparty.evaluation.html_film import count_of, folded, heading, strip, subject_legend, went_wrong
from actionparty.evaluation.html_markup import Markup, tag
from actionparty.evaluation.moves import inside, intended, move_table
from actionparty.evaluation.records import AROUND, RolloutRecord, Shot, first_failures
from actionparty.types import FACINGS, Bools, Ints

OPEN = 4
"""Failures of a world that are shown at once; the others are there to be opened."""
_MOST_TOLD = 4


@dataclass(frozen=True)
class Failure:
    """A step of a rollout at which somebody went wrong, and the frames around it."""

    rollout: int
    step: int
    shots: tuple[Shot, ...]


def failures(record: RolloutRecord) -> list[Failure]:
    """Return the failures that frames were kept of, the earliest first; steps that share frames make one."""
    out: list[Failure] = []
    for rollout, step in sorted(first_failures(record), key=lambda at: (at[1], at[0])):
        if any(f.rollout == rollout and step - f.step <= AROUND for f in out):
            continue
        near = {s.step: s for s in record.shots if s.rollout == rollout and abs(s.step - step) <= AROUND}
        if step in near:
            out.append(Failure(rollout, step, tuple(near[t] for t in sorted(near))))
    return out


def world_failures(record: RolloutRecord) -> Markup | None:
    """Return the failures of one world, None where there were none."""
    wrong = went_wrong(record)
    if not wrong.any():
        return None
    hit = int(wrong.any((1, 2)).sum())
    said = f"Somebody went wrong in {hit} of {len(record)} rollouts, {_share(wrong, record)}."
    shown = [_case(record, case) for case in failures(record)]
    rest = shown[OPEN:]
    return tag(
        "div",
        heading(record.world.name),
        tag("p", said, class_="faint"),
        subject_legend(record.world.subjects) if shown else tag("p", "No frames were kept of them.", class_="faint"),
        *shown[:OPEN],
        folded(f"{count_of(len(rest), 'more failure')} of this world", rest),
        class_="world",
    )


def _share(wrong: Bools, record: RolloutRecord) -> str:
    """Return in words how often subjects went wrong."""
    due = int((record.due | record.counted).sum())
    return f"in {int(wrong.sum()):,} of {due:,} steps of a subject"


def _case(record: RolloutRecord, case: Failure) -> Markup:
    seed, row = record.seeds[case.rollout], record.rows[case.rollout]
    title = f"Step {case.step}, seed {seed}"
    stories = explain(record, case.rollout, case.step)
    label = f"{record.world.name}: frames around step {case.step} of the rollout from seed {seed}, row {row}"
    return tag(
        "section",
        tag("h4", title, tag("small", f" rollout {case.rollout}, from row {row}")),
        tag("ul", *(tag("li", story) for story in stories)),
        strip(record, case.shots, label, (case.step, _wanted(record, case.rollout, case.step))),
        class_="case",
    )


def explain(record: RolloutRecord, rollout: int, step: int) -> list[str]:
    """Return what went wrong at ``step`` (from 1), one sentence for each subject concerned, at most four and a rest."""
    if record.lost[rollout, step - 1]:
        return ["The generated frame is not finite: everybody counts as lost."]
    wrong = np.flatnonzero(went_wrong(record)[rollout, step - 1]).tolist()
    told = [_sentence(record, rollout, step, i) for i in wrong[:_MOST_TOLD]]
    rest = len(wrong) - _MOST_TOLD
    return told + ([f"{count_of(rest, 'more subject')} went wrong at this step."] if rest > 0 else [])


def _sentence(record: RolloutRecord, rollout: int, step: int, i: int) -> str:
    at = rollout, step - 1, i
    count, action = int(record.count[at]), record.world.actions[record.action[at]]
    truth = _simulator(record, rollout, step, i)
    if count == 0:
        believed = _place((*record.state.cells[at].tolist(), int(record.state.facing[at])))
        return f"Subject {i} ({action}) is lost: seen nowhere; the model itself takes it to be at {believed}{truth}."
    if count > 1:
        return f"Subject {i} ({action}) is duplicated: seen in {count} cells{truth}."
    now = _place((*record.cell[at].tolist(), int(record.facing[at])))
    unclear = "" if record.facing[at] >= 0 else ", its picture tells no facing"
    wanted = _expectation(record, rollout, step, i)
    return f"Subject {i} did not obey {action}: {wanted}it is seen at {now}{unclear}{truth}."


def _expectation(record: RolloutRecord, rollout: int, step: int, i: int) -> str:
    if step < 2:
        return ""
    before = rollout, step - 2, i
    if record.count[before] != 1:
        return "it was not seen exactly once the step before; "
    if record.facing[before] < 0:
        return "the step before, its picture told no facing; "
    was = (*record.cell[before].tolist(), int(record.facing[before]))
    x, y, facing = _aim(record, rollout, step)[i].tolist()
    if (x, y, facing) == was:
        return f"it should have stayed at {_place(was)}; "
    blocked = ", or stayed as its way was not free" if record.collision[rollout, step - 1, i] else ""
    return f"from {_place(was)} it should have come to {_place((x, y, facing))}{blocked}; "


def _aim(record: RolloutRecord, rollout: int, step: int) -> Ints:
    """Return (N, 3) x, y and facing that the actions of ``step`` >= 2 aim at, from where subjects were seen before."""
    before = rollout, step - 2
    moves = move_table(record.world.actions)[record.action[rollout, step - 1]]
    cell, facing = intended(record.cell[before], record.facing[before], moves)
    return np.concatenate([cell, facing[:, None]], 1)


def _wanted(record: RolloutRecord, rollout: int, step: int) -> Ints:
    """Return (N, 2) where those that went wrong should have come to with nothing in the way, -1 for none."""
    if step < 2:
        return np.full((record.world.subjects, 2), -1)
    clear = (record.count[rollout, step - 2] == 1) & (record.facing[rollout, step - 2] >= 0)
    free = went_wrong(record)[rollout, step - 1] & clear & ~record.collision[rollout, step - 1]
    aim = _aim(record, rollout, step)[:, :2]
    shown = free & inside(aim, record.world.grid)
    return np.where(shown[:, None], aim, -1)


def _simulator(record: RolloutRecord, rollout: int, step: int, i: int) -> str:
    at = rollout, step - 1, i
    if not record.known[rollout, step - 1] or not record.real.alive[at]:
        return ""
    x, y = record.real.cells[at].tolist()
    return f" (in the simulator: {_place((x, y, int(record.real.facing[at])))})"


def _place(place: tuple[int, int, int]) -> str:
    x, y, facing = place
    return f"({x}, {y})" + (f" facing {FACINGS[facing]}" if facing >= 0 else "")
