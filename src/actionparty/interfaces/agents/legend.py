"""A world's tiles as characters: what stands for what on the text map. Knows tiles; no room and no rollout.

Worlds give tiles no names, so recordings explain a symbol: its colours, and whether subjects go there.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any

import numpy as np

from actionparty.evaluation.labels import BACKGROUND, TileLabels
from actionparty.evaluation.moves import OPEN, SOLID, UNKNOWN
from actionparty.evaluation.tiles import Cells, TileTable, distinct, rms, to_cells
from actionparty.types import CELL_CHANNELS, Frame, Ints

FLOOR, WALL, STRANGE = ".", "#", "?"
SYMBOLS = ascii_lowercase + "+*=%$!~:;^<>|"
"""For all tiles but the commonest floor, the commonest wall, and what was never recorded."""
_FAR = 40.0
"""Root mean square distance in levels from which a cell counts as no known tile."""
_ALIKE = 16.0
"""The same distance up to which two tiles with the same colours that both block, or both don't, share a symbol."""
_SHARE = 0.04
"""Of a tile's pixels: a colour below it is not told."""
_COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (0, 0, 0),
    "dark grey": (70, 70, 70),
    "grey": (128, 128, 128),
    "light grey": (190, 190, 190),
    "white": (250, 250, 250),
    "red": (215, 35, 35),
    "dark red": (120, 25, 25),
    "orange": (245, 140, 30),
    "yellow": (240, 225, 60),
    "green": (60, 180, 60),
    "dark green": (25, 95, 35),
    "cyan": (60, 210, 210),
    "blue": (50, 90, 220),
    "dark blue": (25, 35, 110),
    "purple": (135, 60, 190),
    "pink": (240, 130, 190),
    "brown": (125, 80, 45),
    "beige": (215, 190, 150),
}


@dataclass(frozen=True)
class Kind:
    """What one symbol stands for."""

    symbol: str
    colours: tuple[str, ...]
    """The commonest first."""
    enter: bool | None
    """Whether subjects can go there; None where recordings do not tell."""

    @property
    def text(self) -> str:
        """For people and language models."""
        can = {True: "can be entered", False: "blocks", None: "may block"}[self.enter]
        return f"{self.symbol} {' and '.join(self.colours)}, {can}"

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"symbol": self.symbol, "colours": list(self.colours), "enter": self.enter}


class Legend:
    """The symbols of one world."""

    def __init__(self, tiles: Cells, counts: Ints, passable: Ints, worn: Cells) -> None:
        """``tiles`` (P, 192) of no subject, how often each was seen, whether it is ``OPEN``; ``worn`` of subjects."""
        order = np.argsort(-counts, kind="stable")
        tiles, passable = tiles[order], passable[order]
        named, kind = _sorted(tiles, passable)
        self.kinds = {s: Kind(s, colours(tiles[i]), _ENTER[int(passable[i])]) for s, i in named.items()}
        """By symbol, the commonest first."""
        self._table = TileTable(np.concatenate([tiles, worn]))
        self._letters = np.array([*named, STRANGE])[np.concatenate([kind, np.full(len(worn), len(named))])]

    @staticmethod
    def of_labels(labels: TileLabels) -> Legend:
        """Return the symbols of a world whose tiles are labelled."""
        plain = labels.look == BACKGROUND
        return Legend(labels.tiles[plain], labels.count[plain], labels.passable()[plain], labels.tiles[~plain])

    @staticmethod
    def of_frames(frames: list[Frame]) -> Legend:
        """Return symbols for what ``frames`` show: all that is known of a world without labels."""
        tiles, index = distinct(np.concatenate([to_cells(f[None])[0] for f in frames]))
        unknown = np.full(len(tiles), UNKNOWN, np.int64)
        return Legend(tiles, np.bincount(index), unknown, np.zeros((0, CELL_CHANNELS), np.uint8))

    def read(self, frame: Frame) -> list[list[str]]:
        """Return the symbol of each cell, h rows of w; ``STRANGE`` where a subject seems to be or nobody knows."""
        h, w = frame.shape[0] // 8, frame.shape[1] // 8
        index, distance = self._table.nearest(to_cells(frame[None])[0])
        letters = np.where(distance > _FAR, STRANGE, self._letters[index]).reshape(h, w)
        return [[str(s) for s in row] for row in letters]


_ENTER = {OPEN: True, SOLID: False, UNKNOWN: None}


def _sorted(tiles: Cells, passable: Ints) -> tuple[dict[str, int], Ints]:
    """Return the tile that each symbol stands for, the commonest first, and (P,) which symbol each tile gets.

    A dot for floor, a hash for wall, others for the rest; once they are used up, a tile gets that of the nearest.
    """
    named: dict[str, int] = {}
    looks: list[tuple[int, frozenset[str]]] = []
    kind = np.full(len(tiles), -1, np.int64)
    letters = iter(SYMBOLS)
    for i, can in enumerate(passable.tolist()):
        look = can, frozenset(colours(tiles[i]))
        distances = rms(tiles[list(named.values())], tiles[i])
        alike = [k for k, other in enumerate(looks) if other == look and distances[k] <= _ALIKE]
        plain = FLOOR if can != SOLID else WALL
        symbol = plain if plain not in named else None if alike else next(letters, None)
        if symbol is None:
            kind[i] = alike[0] if alike else int(distances.argmin())
            continue
        kind[i] = len(named)
        named[symbol] = i
        looks.append(look)
    return named, kind


def colours(tile: Cells) -> tuple[str, ...]:
    """Return the names of the colours of a tile (192,), the commonest first, at most three."""
    pixels = tile.reshape(-1, 3).astype(np.int64)
    distance = ((pixels[:, None] - np.array(list(_COLOURS.values()))) ** 2).sum(-1)
    share = np.bincount(distance.argmin(1), minlength=len(_COLOURS)) / len(pixels)
    best = [i for i in np.argsort(-share, kind="stable").tolist() if share[i] >= _SHARE][:3]
    return tuple(list(_COLOURS)[i] for i in best)
