from __future__ import annotations

import pytest

from actionparty.errors import InvalidInputError
from actionparty.worlds import meltingpot_sources as sources
from actionparty.worlds.substrates import SUBSTRATES
from actionparty.worlds.views import View, view_of


def test_most_worlds_are_seen_far_ahead_and_some_near() -> None:
    assert view_of("coins") == view_of("arena") == View(5, 5, 9, 1)
    assert view_of("collaborative_cooking__ring").size == (5, 5)
    assert view_of("coins").size == (11, 11)
    assert View(1, 2, 3, 0).size == (4, 4)


def test_a_view_reaches_no_negative_number_of_cells() -> None:
    with pytest.raises(InvalidInputError, match="0 or more"):
        View(ahead=-1)


@pytest.mark.meltingpot
def test_the_table_says_what_melting_pot_says() -> None:
    wrong = []
    for name in SUBSTRATES:
        config = sources.substrate_config(name)
        settings = sources.lab2d_settings(config, tuple(config.default_player_roles))
        settings.simulation.buildAvatars = False
        sources.builder().maybe_build_and_add_avatar_objects(settings)
        parts = [part for thing in settings.simulation.gameObjects for part in thing["components"]]
        windows = [dict(part["kwargs"]["view"]) for part in parts if part["component"] == "Avatar"]
        assert windows, name
        view = view_of(name)
        ours = {"left": view.left, "right": view.right, "forward": view.ahead, "backward": view.behind}
        same = all({key: window[key] for key in ours} == ours and not window["centered"] for window in windows)
        if not same or view.wraps != (settings["topology"] == "TORUS"):
            wrong.append(name)
    assert wrong == []
