"""Tiles as characters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actionparty.evaluation.moves import OPEN, SOLID, UNKNOWN
from actionparty.interfaces.agents.legend import STRANGE, Legend, colours
from actionparty.rollout.table import from_cells

Cells = NDArray[np.uint8]


def plain(*rgb: int) -> Cells:
    return np.tile(np.array(rgb, np.uint8), 64)


def spotted(ground: tuple[int, int, int], spot: tuple[int, int, int], pixels: int) -> Cells:
    tile = plain(*ground)
    tile[: 3 * pixels] = np.tile(np.array(spot, np.uint8), pixels)
    return tile


FLOOR, WALL, COIN, SUBJECT = (
    plain(0, 0, 0),
    plain(128, 128, 128),
    spotted((0, 0, 0), (240, 225, 60), 20),
    plain(9, 250, 9),
)
DOOR = plain(50, 90, 220)


def legend() -> Legend:
    tiles = np.stack([COIN, WALL, FLOOR, DOOR])
    counts, passable = np.array([5, 50, 500, 1]), np.array([OPEN, SOLID, OPEN, UNKNOWN])
    return Legend(tiles, counts, passable, SUBJECT[None])


def test_the_commonest_floor_is_a_dot_the_commonest_wall_a_hash_and_the_rest_letters() -> None:
    kinds = legend().kinds
    assert list(kinds) == [".", "#", "a", "b"]
    assert kinds["."].text == ". black, can be entered"
    assert kinds["#"].text == "# grey, blocks"
    assert kinds["a"].text == "a black and yellow, can be entered"
    assert kinds["b"].to_json() == {"symbol": "b", "colours": ["blue"], "enter": None}


def test_a_frame_is_read_cell_by_cell_and_a_nearly_equal_tile_counts_as_the_known_one() -> None:
    nearly = WALL.copy()
    nearly[:30] += 9
    frame = from_cells(np.stack([WALL, nearly, FLOOR, COIN, DOOR, FLOOR]), 2, 3)
    assert ["".join(row) for row in legend().read(frame)] == ["##.", "ab."]


def test_what_looks_like_a_subject_or_like_nothing_known_is_strange() -> None:
    frame = from_cells(np.stack([SUBJECT, plain(255, 0, 255), FLOOR]), 1, 3)
    assert legend().read(frame) == [[STRANGE, STRANGE, "."]]


def test_variants_of_a_tile_share_its_symbol_unless_they_behave_differently() -> None:
    variant = WALL.copy()
    variant[::3] += 6
    tiles = np.stack([FLOOR, WALL, variant, WALL + 3])
    made = Legend(tiles, np.array([9, 8, 7, 6]), np.array([OPEN, SOLID, SOLID, OPEN]), tiles[:0])
    assert list(made.kinds) == [".", "#", "a"]
    frame = from_cells(tiles, 1, 4)
    assert "".join(made.read(frame)[0]) == ".##a"


def test_more_kinds_than_symbols_fall_to_the_nearest_one() -> None:
    tiles = np.stack([spotted((0, 0, 0), (4 * i, 255 - 4 * i, 128), 64 - i // 2) for i in range(60)])
    made = Legend(tiles, np.arange(60)[::-1], np.full(60, OPEN), tiles[:0])
    assert len(made.kinds) <= 41
    assert STRANGE not in "".join(made.read(from_cells(tiles, 6, 10))[5])


def test_without_labels_a_legend_comes_from_frames_and_says_that_it_does_not_know() -> None:
    made = Legend.of_frames([from_cells(np.stack([FLOOR, FLOOR, WALL]), 1, 3)])
    assert [(kind.symbol, kind.enter) for kind in made.kinds.values()] == [(".", None), ("a", None)]


def test_colours_are_told_by_how_much_there_is_of_them() -> None:
    assert colours(spotted((250, 250, 250), (215, 35, 35), 30)) == ("white", "red")
    assert colours(spotted((250, 250, 250), (215, 35, 35), 40)) == ("red", "white")
    assert colours(spotted((250, 250, 250), (215, 35, 35), 1)) == ("white",)
