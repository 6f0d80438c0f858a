"""The pictures of the arena: an 8x8 tile for each thing, and one for each subject, facing and load, all different."""

from __future__ import annotations

import colorsys
from functools import cache

import numpy as np
from numpy.typing import NDArray

from actionparty.types import CELL, FACINGS, MAX_SUBJECTS, Frame, Ints

FLOOR, WALL, CRATE, COIN, BEAM = range(5)
FIRST_SUBJECT = 5
"""Tile of subject 0 facing north with empty hands; see ``subject_tile``."""

Tile = NDArray[np.uint8]


def subject_tile(subject: int, facing: int, loaded: bool) -> int:
    """Return the index of a subject's tile in ``tiles``."""
    return FIRST_SUBJECT + (subject * len(FACINGS) + facing) * 2 + loaded


@cache
def tiles() -> NDArray[np.uint8]:
    """Return all tiles, (P, 8, 8, 3), in the order of the indices in this module."""
    things = [_floor(), _wall(), _crate(), _coin(), _beam()]
    subjects = [
        _subject(subject, facing, loaded)
        for subject in range(MAX_SUBJECTS)
        for facing in range(len(FACINGS))
        for loaded in (False, True)
    ]
    table = np.stack(things + subjects)
    table.setflags(write=False)
    return table


def draw(grid: Ints) -> Frame:
    """Return the frame, (8 h, 8 w, 3), of a grid of tile indices, (h, w)."""
    h, w = grid.shape
    return tiles()[grid].transpose(0, 2, 1, 3, 4).reshape(h * CELL, w * CELL, 3)


def subject_color(subject: int) -> tuple[int, int, int]:
    """Return a subject's colour: hues a golden angle apart, in four shades, so that all 64 differ."""
    shade = (0.95, 0.72, 0.85, 0.60)[subject // 16]
    red, green, blue = colorsys.hsv_to_rgb(subject * 0.618034 % 1, (0.85, 0.60)[subject % 2], shade)
    return round(red * 255), round(green * 255), round(blue * 255)


def _plain(color: tuple[int, int, int]) -> Tile:
    return np.full((CELL, CELL, 3), color, np.uint8)


def _floor() -> Tile:
    tile = _plain((40, 42, 48))
    tile[0, :] = tile[:, 0] = (46, 48, 55)
    return tile


def _wall() -> Tile:
    tile = _plain((118, 112, 106))
    tile[3, :] = tile[7, :] = tile[:4, 3] = tile[4:, 7] = (78, 74, 70)
    return tile


def _crate() -> Tile:
    tile = _plain((150, 104, 52))
    tile[[0, 7], :] = tile[:, [0, 7]] = (96, 64, 30)
    tile[np.arange(1, 7), np.arange(1, 7)] = (96, 64, 30)
    return tile


def _coin() -> Tile:
    tile = _floor()
    tile[2:6, 1:7] = tile[1:7, 2:6] = (236, 190, 40)
    tile[3:5, 3:5] = (255, 236, 150)
    return tile


def _beam() -> Tile:
    tile = _floor()
    tile[::2, ::2] = tile[1::2, 1::2] = (250, 90, 200)
    return tile


def _subject(subject: int, facing: int, loaded: bool) -> Tile:
    """Draw a body of the subject's colour with a white nose ahead and, if loaded, a crate on its back."""
    tile = _floor()
    tile[1:7, 1:7] = subject_color(subject)
    tile[0:2, 3:5] = (255, 255, 255)
    tile[2, [2, 5]] = (16, 16, 16)
    if loaded:
        tile[4:6, 3:5] = (96, 64, 30)
    return np.ascontiguousarray(np.rot90(tile, -facing))
