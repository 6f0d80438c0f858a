"""Cells of frames as rows of bytes: cutting, hashing, exact look-up and nearest tile. Knows nothing of subjects."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from actionparty.types import CELL, CELL_CHANNELS, Bools, Floats, Ints

Cells = NDArray[np.uint8]
"""(..., 192) the 8 x 8 x 3 bytes of a cell, rows first."""
_CHUNK = 2048


def to_cells(frames: NDArray[np.uint8]) -> Cells:
    """Return frames (B, H, W, 3) as cells (B, h * w, 192), a new array."""
    b, height, width, _ = frames.shape
    h, w = height // CELL, width // CELL
    cells = frames.reshape(b, h, CELL, w, CELL, 3).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(cells).reshape(b, h * w, CELL_CHANNELS)


@cache
def _multipliers() -> NDArray[np.uint64]:
    return np.random.default_rng(8).integers(0, 2**63, CELL_CHANNELS // 8, dtype=np.uint64) * np.uint64(2) + np.uint64(
        1
    )


def tile_hash(cells: Cells) -> NDArray[np.uint64]:
    """Return a 64-bit hash (n,) of cells (n, 192): every word is mixed first, so that no byte weighs little."""
    words = np.ascontiguousarray(cells).view(np.uint64)
    words = (words ^ (words >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    words ^= words >> np.uint64(29)
    return np.asarray((words * _multipliers()).sum(axis=-1, dtype=np.uint64))


def same(a: Cells, b: Cells) -> Bools:
    """Return where cells (..., 192) are equal byte for byte, (...)."""
    return np.asarray((np.ascontiguousarray(a).view(np.uint64) == np.ascontiguousarray(b).view(np.uint64)).all(-1))


def rms(a: Cells, b: Cells) -> Floats:
    """Return the root mean square difference (...) of cells (..., 192), in levels of 0 to 255."""
    difference = a.astype(np.float32) - b.astype(np.float32)
    return np.asarray(np.sqrt((difference**2).mean(-1)), np.float32)


class TileTable:
    """A set of distinct tiles (P, 192) in which cells are found exactly (by hash) or by pixel distance."""

    def __init__(self, tiles: Cells) -> None:
        self.tiles = np.ascontiguousarray(tiles).reshape(-1, CELL_CHANNELS)
        hashes = tile_hash(self.tiles)
        self._order = np.argsort(hashes)
        self._hashes = hashes[self._order]
        self._centred = self.tiles.astype(np.float32) - 128
        self._norms = (self._centred**2).sum(1)

    def __len__(self) -> int:
        return len(self.tiles)

    def exact(self, cells: Cells) -> Ints:
        """Return the index (n,) of the tile equal to each cell (n, 192), -1 where there is none."""
        if not len(self):
            return np.full(len(cells), -1, np.int64)
        place = np.minimum(np.searchsorted(self._hashes, hashes := tile_hash(cells)), len(self) - 1)
        found = np.where(self._hashes[place] == hashes, self._order[place], -1)
        hit = np.flatnonzero(found >= 0)
        found[hit[~same(self.tiles[found[hit]], cells[hit])]] = -1
        return found.astype(np.int64)

    def distances(self, cells: Cells) -> Floats:
        """Return the root mean square distance (n, P) of cells (n, 192) to every tile, in levels of 0 to 255."""
        x = cells.astype(np.float32) - 128
        squared = x @ self._centred.T
        squared *= -2
        squared += (x**2).sum(1)[:, None]
        squared += self._norms
        np.maximum(squared, 0, out=squared)
        squared /= CELL_CHANNELS
        return np.asarray(np.sqrt(squared, out=squared), np.float32)

    def nearest(self, cells: Cells) -> tuple[Ints, Floats]:
        """Return the index (n,) of the nearest tile of each cell (n, 192) and its distance (n,)."""
        index = self.exact(cells)
        distance = np.zeros(len(cells), np.float32)
        rest = np.flatnonzero(index < 0)
        for start in range(0, len(rest) if len(self) else 0, _CHUNK):
            rows = rest[start : start + _CHUNK]
            table = self.distances(cells[rows])
            index[rows] = table.argmin(1)
            distance[rows] = table.min(1)
        return index, distance


def merge_tiles(parts: list[Cells]) -> tuple[Cells, list[Ints]]:
    """Return the distinct tiles (P, 192) of several tables and, for each table, the index of its rows in them."""
    cells = np.concatenate([np.zeros((0, CELL_CHANNELS), np.uint8), *parts])
    tiles, index = distinct(cells)
    return tiles, np.split(index, np.cumsum([len(p) for p in parts])[:-1]) if parts else []


def distinct(cells: Cells) -> tuple[Cells, Ints]:
    """Return the distinct rows (P, 192) of cells (n, 192) in order of first sight, and the row of each cell (n,)."""
    _, first, inverse = np.unique(tile_hash(cells), return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return cells[first[order]], rank[inverse.reshape(-1)].astype(np.int64)
