"""What a frame of ``collaborative_cooking`` shows: where things are, what lies on counters, in pots and in hands.

Tiles are told apart by single pixels, which were measured in the simulator. The outermost pixels of a tile are not
looked at: for one step, whoever interacts with a cell draws its border.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from actionparty.types import CELL, Frame
from actionparty.worlds.scripted import Cell

TOMATO, DISH, SOUP = "tomato", "dish", "soup"
FULL = 3
"""Tomatoes in a full pot, which then cooks."""

_RED, _WHITE, _GREEN = (236, 58, 74), (233, 239, 248), (15, 188, 15)
_STATION = (82, 82, 82)
_KINDS: dict[tuple[int, ...], str] = {(115, 81, 39): "counter", (140, 155, 181): "pot", (0, 0, 0): "floor"}
_LYING_TOMATO = (237, 57, 74)


@dataclass(frozen=True)
class Pot:
    """What is in a pot, and whether the soup is done."""

    tomatoes: int
    done: bool

    @property
    def full(self) -> bool:
        """Whether it cooks or is done."""
        return self.tomatoes == FULL


@dataclass(frozen=True)
class Kitchen:
    """Where things are, which never changes."""

    floor: frozenset[Cell]
    """Cells to walk on, and others that look so but lie behind walls"""
    counters: tuple[Cell, ...]
    pots: tuple[Cell, ...]
    tomatoes: tuple[Cell, ...]
    """Where there are always tomatoes"""
    dishes: tuple[Cell, ...]
    hatches: tuple[Cell, ...]
    """Where soup is delivered"""

    @property
    def stations(self) -> tuple[Cell, ...]:
        """All cells that one may interact with."""
        return self.counters + self.pots + self.tomatoes + self.dishes + self.hatches


def read_kitchen(frame: Frame, subjects: Iterable[Cell]) -> Kitchen:
    """Read where things are from the first frame of an episode, when nothing lies about and all pots are empty."""
    found: dict[str, list[Cell]] = {kind: [] for kind in ("floor", "counter", "pot", TOMATO, DISH, "hatch")}
    standing = set(subjects)
    for y in range(frame.shape[0] // CELL):
        for x in range(frame.shape[1] // CELL):
            kind = "floor" if (x, y) in standing else _kind(frame, (x, y))
            if kind:
                found[kind].append((x, y))
    floor = frozenset(found["floor"])
    return Kitchen(floor, *(tuple(found[kind]) for kind in ("counter", "pot", TOMATO, DISH, "hatch")))


def _kind(frame: Frame, cell: Cell) -> str:
    base = _pixel(frame, cell, 2, 2)
    if base == _STATION:
        if _pixel(frame, cell, 3, 3) == _WHITE:
            return DISH
        return TOMATO if _pixel(frame, cell, 4, 4) == _LYING_TOMATO else "hatch"
    return _KINDS.get(base, "")


def lying(frame: Frame, counters: Sequence[Cell]) -> dict[Cell, str]:
    """Return what lies on which counter."""
    found = {cell: _item(frame, cell) for cell in counters}
    return {cell: item for cell, item in found.items() if item}


def _item(frame: Frame, cell: Cell) -> str:
    middle = _pixel(frame, cell, 3, 3)
    if middle in (_WHITE, _RED):
        return DISH if middle == _WHITE else SOUP
    return TOMATO if _pixel(frame, cell, 4, 4) == _LYING_TOMATO else ""


def read_pot(frame: Frame, cell: Cell) -> Pot:
    """Return what is in the pot at ``cell``."""
    if _pixel(frame, cell, 2, 5) == _RED:
        return Pot(FULL, done=_pixel(frame, cell, 6, 2) == _GREEN)
    if _pixel(frame, cell, 2, 2) == _RED:
        return Pot(2, done=False)
    return Pot(int(_pixel(frame, cell, 3, 3) == _RED), done=False)


def held(frame: Frame, cell: Cell) -> str:
    """Return what the subject at ``cell`` has in its hands: one red pixel is a tomato, two are soup."""
    x, y = cell[0] * CELL, cell[1] * CELL
    tile = frame[y : y + CELL, x : x + CELL]
    if int((tile == _WHITE).all(-1).sum()) == 2:
        return DISH
    return ("", TOMATO, SOUP)[min(2, int((tile == _RED).all(-1).sum()))]


def _pixel(frame: Frame, cell: Cell, row: int, column: int) -> tuple[int, ...]:
    return tuple(frame[cell[1] * CELL + row, cell[0] * CELL + column].tolist())
