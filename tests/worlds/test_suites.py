"""Suites name worlds that exist, and give large maps and many rules more steps."""

from __future__ import annotations

import pytest

from actionparty.errors import UnknownNameError
from actionparty.worlds.catalogue import world_names, world_spec
from actionparty.worlds.suites import SUITES, suite, suite_steps


def test_all_is_every_substrate_and_every_world_of_a_suite_exists() -> None:
    assert set(suite("all")) == set(world_names()) - {"arena"}
    assert len(suite("all")) == 49
    assert all(world_spec(name) for names in SUITES.values() for name in names)


def test_large_maps_and_many_rules_get_more_steps() -> None:
    steps = suite_steps("all", 1000)
    assert steps["coins"] == 1000  # 17 x 17, no action of its own
    assert steps["territory__open"] == 1500  # 23 x 39
    assert steps["fruit_market__concentric_rivers"] == 2000  # 31 x 31 and 24 actions of its own
    assert steps["daycare"] == 1000


def test_an_unknown_suite_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="starter"):
        suite("startr")
