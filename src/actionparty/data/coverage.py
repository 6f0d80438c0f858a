"""What a dataset covers: how often actions had an effect, subjects collided, vanished and came back, what is thin.

It counts in tables, so recorded and packed datasets give the same report. Which change an action caused is not
recorded: a *sign* is a change at the right place and time, compared with how often subjects that stood still saw one.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actionparty.data.dataset import Dataset, open_dataset
from actionparty.data.inspection import blocked, quarter_turns
from actionparty.data.packed import is_packed, load_packed
from actionparty.data.signs import Steps
from actionparty.data.tables import WorldTable
from actionparty.errors import DatasetError
from actionparty.types import Bools, Episode, WorldSpec
from actionparty.vocabulary import ACTIONS, MOVES, action_ids

STANDS_OUT = 1.25
"""A sign counts for an action only where its share is at least this many times that of the background.

Those that act are elsewhere than those that stand still: around trade offers, which leave no other trace, fruit_market
changed up to 1.2 times as often as around those that stood still (1.36 times where the curious policy played too: what
counts there as an effect of an offer, and as often of ``offer_cancel``, is none).
"""
MARK = 5
"""A kind of lasting change counts for an action only where it is this many times as frequent as the background."""
JUMP_CELLS = 3
RARE = 10
LEAST = 20

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Effects:
    """What followed one action of a world's own; ``signs`` and ``beyond`` have an entry for each of ``signs.SIGNS``."""

    action: str
    taken: int
    """By living subjects"""
    signs: dict[str, int]
    """How often each sign was seen in the step of the action"""
    beyond: dict[str, int]
    """``signs`` less what the background explains; 0 where that does not stand out"""
    marks: int
    """Lasting changes in reach of a kind that stands out: ``RARE`` of them, and ``MARK`` times the background"""
    count: int
    """How many effects stand out from the background: ``beyond`` of the clearest sign"""


@dataclass(frozen=True)
class WorldCoverage:
    """What was recorded of one world; actions, collisions and rewards are counted by (step, subject)."""

    world: WorldSpec
    rows: int
    actions: dict[str, int]
    """How often each action was taken by a living subject"""
    resting: int
    """Living subjects that took a move (or none) and stood still: what ``background`` was measured on"""
    background: dict[str, float]
    """Share of those that saw each of ``signs.SIGNS``"""
    effects: tuple[Effects, ...]
    """Of every action that is not one of ``vocabulary.MOVES``"""
    collisions: int
    """As ``inspection.collisions``"""
    removals: int
    returns: int
    jumps: int
    """How often a living subject was more than ``JUMP_CELLS`` away in the next row"""
    rewards_positive: int
    rewards_negative: int
    tiles: int
    """Distinct tiles"""
    changes: int
    """Kinds of change: distinct (tile before, tile after) of a cell"""
    rare_changes: int
    """Kinds of change seen fewer than ``RARE`` times"""


@dataclass(frozen=True)
class Coverage:
    """What a dataset covers."""

    worlds: tuple[WorldCoverage, ...]
    damaged: tuple[str, ...]
    """Why shards were left out"""


def coverage(*paths: Path) -> Coverage:
    """Count what is in the datasets at ``paths`` together; damaged shards are left out and named.

    Several have to be recordings; one may be packed.

    Raises:
        DatasetError: there is no dataset, it has no episodes, or a part of a packed one is missing or damaged.
    """
    damaged: list[str] = []
    if len(paths) > 1 and (packed := [path for path in paths if is_packed(path)]):
        raise DatasetError(f"{packed[0]}: is packed and can't be counted together with others; give the recordings.")
    if is_packed(paths[0]):
        tables = load_packed(paths[0])
    else:
        tables = _recorded([open_dataset(path) for path in dict.fromkeys(paths)], damaged)
    worlds = tuple(sorted((cover(table) for table in tables), key=lambda w: (w.world.name, w.world.subjects)))
    if not worlds:
        raise DatasetError(
            f"{', '.join(map(str, paths))}: no episodes that can be read. Record some (actionparty record WORLD --out "
            f"{paths[0]})."
        )
    return Coverage(worlds, tuple(damaged))


def cover(table: WorldTable) -> WorldCoverage:
    """Count what is in ``table``."""
    spec, steps = table.spec, Steps(table)
    signs = steps.signs()
    resting = steps.still & np.isin(steps.action, action_ids(MOVES)) & steps.alive_before
    at_rest, kinds = _count(resting), steps.lasting_kinds(resting)
    background = {name: _count(sign & resting) / max(1, at_rest) for name, sign in signs.items()}
    taken = {name: steps.alive_before & (steps.action == ACTIONS.index(name)) for name in spec.actions}
    effects = []
    for name in (name for name in spec.actions if name not in MOVES):
        marks = _marks(steps.lasting_kinds(taken[name]), kinds, _count(taken[name]) / max(1, at_rest))
        effects.append(_effects(name, taken[name], signs, background, marks))
    rewards = table.reward[1:][steps.real]
    seen = steps.kinds_of_change()
    return WorldCoverage(
        world=spec,
        rows=len(table),
        actions={name: _count(by) for name, by in taken.items()},
        resting=at_rest,
        background=background,
        effects=tuple(effects),
        collisions=_count(blocked(quarter_turns(ACTIONS, table.action), steps.states)),
        removals=_count(steps.alive_before & ~steps.after.alive),
        returns=_count(steps.real[:, None] & ~steps.before.alive & steps.after.alive),
        jumps=_count((steps.moved > JUMP_CELLS) & steps.alive_before & steps.after.alive),
        rewards_positive=_count(rewards > 0),
        rewards_negative=_count(rewards < 0),
        tiles=_count(np.bincount(table.grid.reshape(-1)) > 0),
        changes=len(seen),
        rare_changes=_count(seen < RARE),
    )


def thin_spots(worlds: Iterable[WorldCoverage], least: int = LEAST) -> dict[str, list[str]]:
    """Return what there are fewer than ``least`` of, a line per world, under what it is about; only what there is."""
    found: dict[str, list[str]] = {}
    for world in worlds:
        for about, details in _thin(world, least).items():
            line = f"{world.world.name}, {world.world.subjects} subjects: {', '.join(details)}"
            found.setdefault(about, []).extend([line] * bool(details))
    return {about: lines for about, lines in found.items() if lines}


def _thin(world: WorldCoverage, least: int) -> dict[str, list[str]]:
    often = [effects for effects in world.effects if effects.taken >= least]
    rewards = world.rewards_positive + world.rewards_negative
    crowded, lost = world.world.subjects > 1, world.removals > 0 and world.returns == 0
    return {
        "Actions seldom taken": [f"{name} {taken}" for name, taken in world.actions.items() if taken < least],
        "Actions whose effects hardly stand out from the background": [
            f"{e.action} {e.count} of {e.taken}" for e in often if e.count < least
        ],
        "Actions that are seen, but seldom leave a lasting mark (as beams that only remove subjects)": [
            f"{e.action} {e.marks} of {e.taken}" for e in often if e.beyond["around"] >= least > e.marks
        ],
        "Removals, but no returns (some worlds never let a subject back)": [f"{world.removals} removals"] * lost,
        "Few removals": [f"{world.removals}"] * (0 < world.removals < least),
        "Few returns": [f"{world.returns} of {world.removals} removals"] * (0 < world.returns < least),
        "Few rewards": [f"{rewards}"] * (rewards < least),
        "Few collisions": [f"{world.collisions}"] * (crowded and world.collisions < least),
    }


def _recorded(datasets: Sequence[Dataset], damaged: list[str]) -> Iterator[WorldTable]:
    """Yield a table for each world and number of subjects; add to ``damaged`` why shards were left out."""
    damaged += [problem for dataset in datasets for problem in dataset.problems]
    shards = [(dataset, shard) for dataset in datasets for shard in dataset.shards.values()]
    for spec in dict.fromkeys(shard.world for _, shard in shards):
        episodes: list[Episode] = []
        for dataset, shard in shards:
            if shard.world != spec:
                continue
            try:
                episodes.append(dataset.read(shard))
            except DatasetError as error:
                damaged.append(str(error))
                log.warning("left out: %s", error)
        if episodes:
            yield WorldTable.of(episodes)


def _marks(seen: Counter[int], background: Counter[int], scale: float) -> int:
    """Return how many of the kinds ``seen`` stand out from ``scale`` times the ``background``."""
    return sum(count for kind, count in seen.items() if count >= max(RARE, MARK * scale * background[kind]))


def _effects(name: str, taken: Bools, signs: dict[str, Bools], background: dict[str, float], marks: int) -> Effects:
    times = _count(taken)
    seen = {sign: _count(flags & taken) for sign, flags in signs.items()}
    expected = {sign: share * times for sign, share in background.items()}
    beyond = {
        sign: round(count - expected[sign]) if count >= STANDS_OUT * expected[sign] else 0
        for sign, count in seen.items()
    }
    return Effects(name, times, seen, beyond, marks, max(beyond.values()))


def _count(flags: Bools | np.bool_) -> int:
    return int(np.count_nonzero(flags))
