"""The lossless tile codec: a frame is a grid of indices into a growing table of distinct 8x8-pixel tiles.

Cells that did not change since the previous frame are not looked up again, so recording stays fast on large maps.
Frames that are not made of few tiles are kept raw instead. This module knows no files and no worlds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actionparty.errors import InvalidInputError
from actionparty.types import CELL, Frame

TILE_BYTES = CELL * CELL * 3
MAX_TILES = 4096
"""Distinct tiles after which a recording counts as not tile-like."""

Words = NDArray[np.uint64]


@dataclass(frozen=True)
class EncodedFrames:
    """T frames as tiles and grid, or raw: the three fields of an ``Episode`` that hold its pictures."""

    tiles: NDArray[np.uint8]
    """(P, 8, 8, 3), in order of first appearance"""
    grid: NDArray[np.uint16]
    """(T, h, w), or (T, h, 0) where the frames are raw"""
    raw: NDArray[np.uint8] | None
    """(T, H, W, 3) where the frames are not tile-like"""


class TileTable:
    """Distinct tiles in order of first appearance; a tile is found by its exact bytes, so nothing can collide."""

    def __init__(self) -> None:
        self._index: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._index)

    def lookup(self, cells: bytes) -> list[int]:
        """Return the index of each 192-byte tile in ``cells``, adding those not seen before."""
        index = self._index
        starts = range(0, len(cells), TILE_BYTES)
        return [index.setdefault(cells[start : start + TILE_BYTES], len(index)) for start in starts]

    def pixels(self) -> NDArray[np.uint8]:
        """Return all tiles as (P, 8, 8, 3)."""
        return np.frombuffer(b"".join(self._index), np.uint8).reshape(-1, CELL, CELL, 3).copy()


class FrameEncoder:
    """Encodes frames of one size one by one; turns to raw frames for good once they prove not tile-like."""

    def __init__(self, max_tiles: int = MAX_TILES) -> None:
        self._max_tiles = max_tiles
        self._table = TileTable()
        self._last: Words | None = None
        self._grids: list[NDArray[np.uint16]] = []
        self._raw: list[Frame] | None = None
        self._shape: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self._grids) if self._raw is None else len(self._raw)

    def add(self, frame: Frame) -> None:
        """Append ``frame``, which stays the caller's.

        Raises:
            InvalidInputError: not (H, W, 3) uint8, or not the size of the frames before.
        """
        self._check(frame)
        if self._raw is None and not is_cellular(frame):
            self._raw = []
        if self._raw is not None:
            self._raw.append(frame.copy())
            return
        self._grids.append(self._encode(frame))
        if len(self._table) > self._max_tiles:
            self._raw = list(decode(self._table.pixels(), np.stack(self._grids)))

    def finish(self) -> EncodedFrames:
        """Return everything encoded so far."""
        if self._raw is None:
            return EncodedFrames(self._table.pixels(), np.stack(self._grids), None)
        raw = np.stack(self._raw)
        empty = np.zeros((len(raw), raw.shape[1] // CELL, 0), np.uint16)
        return EncodedFrames(np.zeros((0, CELL, CELL, 3), np.uint8), empty, raw)

    def _check(self, frame: Frame) -> None:
        self._shape = self._shape or frame.shape
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.shape != self._shape:
            raise InvalidInputError(f"a frame of shape {frame.shape} and {frame.dtype}, expected uint8 {self._shape}.")

    def _encode(self, frame: Frame) -> NDArray[np.uint16]:
        words = _cell_words(frame)
        if self._last is None:
            changed = np.ones((words.shape[0], words.shape[2]), np.bool_)
            grid = np.zeros(changed.shape, np.uint16)
        else:
            changed = (words != self._last).any(axis=(1, 3))
            grid = self._grids[-1].copy()
        rows, columns = np.nonzero(changed)
        grid[rows, columns] = self._table.lookup(words[rows, :, columns].tobytes())
        self._last = words
        return grid


def is_cellular(frame: Frame) -> bool:
    """Return whether ``frame`` is a whole number of cells high and wide."""
    h, w = frame.shape[:2]
    return bool(h % CELL == 0 and w % CELL == 0)


def encode(frames: NDArray[np.uint8], max_tiles: int = MAX_TILES) -> EncodedFrames:
    """Encode ``frames`` (T, H, W, 3)."""
    encoder = FrameEncoder(max_tiles)
    for frame in frames:
        encoder.add(frame)
    return encoder.finish()


def decode(tiles: NDArray[np.uint8], grid: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return the (T, 8 h, 8 w, 3) frames of a ``grid`` (T, h, w) into ``tiles`` (P, 8, 8, 3)."""
    t, h, w = grid.shape
    return tiles[grid].transpose(0, 1, 3, 2, 4, 5).reshape(t, h * CELL, w * CELL, 3)


def _cell_words(frame: Frame) -> Words:
    """Return a copy of ``frame`` as (h, 8, w, 3) 64-bit words: 24 of them per cell, quick to compare."""
    h, w = frame.shape[0] // CELL, frame.shape[1] // CELL
    copied = np.array(frame, order="C", copy=True)
    return copied.reshape(h, CELL, w, CELL * 3).view(np.uint64)
