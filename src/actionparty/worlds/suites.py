"""Suites: named sets of worlds to record and train on together, with a share of the steps for each."""

from __future__ import annotations

import math

from actionparty.errors import unknown_name
from actionparty.vocabulary import MOVES
from actionparty.worlds.catalogue import ARENA, world_spec
from actionparty.worlds.substrates import SUBSTRATES

STARTER = (
    "collaborative_cooking__crowded",
    "commons_harvest__open",
    "collaborative_cooking__figure_eight",
    "coins",
    "collaborative_cooking__circuit",
    "prisoners_dilemma_in_the_matrix__repeated",
)
SUITES: dict[str, tuple[str, ...]] = {
    "all": tuple(sorted(SUBSTRATES)),
    "starter": STARTER,
    "tests": (ARENA,),
}
"""By name. ``all`` are the substrates of Melting Pot."""
LARGE_CELLS = 400
MANY_ACTIONS = 3


def suite(name: str) -> tuple[str, ...]:
    """Return the worlds of a suite; raise ``UnknownNameError`` where there is none of that name."""
    if name not in SUITES:
        raise unknown_name("suite", name, SUITES)
    return SUITES[name]


def suite_steps(name: str, steps: int) -> dict[str, int]:
    """Return how many steps of each world to record: ``steps``, half as many more for a large map and for many rules.

    Large is at least ``LARGE_CELLS`` cells; many rules are at least ``MANY_ACTIONS`` actions of the world's own.
    """
    return {world: math.ceil(steps * _share(world)) for world in suite(name)}


def _share(world: str) -> float:
    spec = world_spec(world)
    own = [action for action in spec.actions if action not in MOVES]
    return 1 + 0.5 * (math.prod(spec.grid) >= LARGE_CELLS) + 0.5 * (len(own) >= MANY_ACTIONS)
