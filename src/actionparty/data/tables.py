"""All recorded steps of one world as one long table of arrays: what training reads, in memory or packed. No torch here.

A row is a step. Frames are rows of tile indices; episodes follow each other, ``first`` says where each begins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from actionparty.errors import DatasetError
from actionparty.types import CELL, CELL_CHANNELS, Bools, Episode, Floats, Ints, WorldSpec
from actionparty.vocabulary import action_ids

_OFTEN = 5
"""Changes of a tile from which on what it may become is thought to be known."""
_MOST_TILES = 4096
_UNTOLD = 0.02
"""Share of living subjects in whose cells tiles may be wrong about whether one is there (in the substrates 0.007)."""
_OWN, _SURE = 0.95, 10
"""Share of a family in the times that a tile was seen to show a subject, and those times, for it to be its own."""
_USUAL = 0.02
"""Share of a subject's steps from which on a tile is one of those that it usually shows."""


@dataclass(frozen=True)
class WorldTable:
    """R rows of a world with N subjects and M cells, and its P distinct tiles."""

    spec: WorldSpec
    tiles: np.ndarray
    """(P, 192) uint8"""
    grid: np.ndarray
    """(R, M) int32, tile indices"""
    position: Floats
    """(R, N, 2)"""
    facing: Ints
    alive: np.ndarray
    """(R, N) bool"""
    action: Ints
    """(R, N) ids of the shared vocabulary, of the actions that led into each row; -1: none"""
    reward: Floats
    ended: np.ndarray
    """(R,) bool, the episode ended here"""
    first: Ints
    """(R,) first row of the episode that each row belongs to"""
    identity: Ints
    """(R, N) tile index of each subject's picture"""

    def __len__(self) -> int:
        return len(self.grid)

    @property
    def age(self) -> Floats:
        """(R, N) steps since each subject's aliveness last changed, counted from the first row of its episode."""
        starts = np.flatnonzero(self.first == np.arange(len(self)))
        return np.concatenate([alive_age(part) for part in np.split(self.alive, starts[1:])])

    @property
    def inside(self) -> Bools:
        """(R - 1,) whether each row after the first goes on with the episode of the row before it."""
        return np.asarray(np.arange(1, len(self)) > self.first[1:], np.bool_)

    def changes(self) -> Ints:
        """Return (Q, 2) int64: a tile that changed at least 5 times in a cell, and one that it became.

        Of a tile that changed less often nothing is said: too little was seen of it. Nor of any in a world of more than
        4,096 tiles, where nothing is aligned to cells and tiles hardly come twice.
        """
        count = len(self.tiles)
        if count > _MOST_TILES:
            return np.zeros((0, 2), np.int64)
        rows = np.flatnonzero(self.inside)
        codes, times = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for some in np.array_split(rows, max(1, len(rows) // 4096)):
            before, after = self.grid[some].astype(np.int64), self.grid[some + 1]
            where = before != after
            found, often = np.unique(before[where] * count + after[where], return_counts=True)
            codes.append(found)
            times.append(often)
        seen, which = np.unique(np.concatenate(codes), return_inverse=True)
        before, after = np.divmod(seen, count)
        changed = np.bincount(before, np.bincount(which, np.concatenate(times), len(seen)), count)
        return np.stack([before, after], 1)[changed[before] >= _OFTEN]

    def looks(self) -> Ints:
        """Return (P,) int64, whom each tile shows: nobody (-1), a subject (0), one of a family k of alike ones (k + 1).

        In all substrates a tile is seen under living subjects only, or never, and in most of them a subject's tiles are
        its own, its colour's or its team's: then a cell tells who is there. (0,) in a world where tiles don't tell.
        """
        h, w = self.spec.grid
        x, y = (np.clip(self.position[..., k].round().astype(np.int64), 0, (w, h)[k] - 1) for k in (0, 1))
        shown = np.take_along_axis(self.grid, y * w + x, 1).astype(np.int64)[self.alive]
        count = len(self.tiles)
        below, seen = (np.bincount(tiles, minlength=count) for tiles in (shown, self.grid.reshape(-1)))
        subjects = below > seen / 2
        wrong = np.where(subjects, seen - below, below).sum()
        if wrong > _UNTOLD * max(1, below.sum()):
            return np.zeros(0, np.int64)
        wearers = (self.first[:, None] * self.spec.subjects + np.arange(self.spec.subjects))[self.alive]
        return np.where(subjects, _families(wearers, np.where(subjects[shown], shown, count), count), -1)

    @staticmethod
    def of(episodes: Iterable[Episode]) -> WorldTable:
        """Join ``episodes`` of one world.

        Raises:
            DatasetError: there are none, or they are of different worlds.
        """
        builder = _Builder()
        for episode in episodes:
            builder.add(episode)
        return builder.table()


def _families(wearers: Ints, shown: Ints, count: int) -> Ints:
    """Return (P,) int64, the family k of subjects to which each of ``count`` tiles belongs, as k + 1; 0 for none.

    Subjects that usually show a common tile are of a family; ``wearers`` (S,) are numbers, one for each subject of each
    episode, and ``shown`` (S,) tiles that they were seen to show, ``count`` for one that shows no subject.
    """
    names, wearers = np.unique(wearers, return_inverse=True)
    seen, times = np.unique(wearers * (count + 1) + shown, return_counts=True)
    wearer, tile = np.divmod(seen, count + 1)
    usual = (times >= _USUAL * np.bincount(wearer, times)[wearer]) & (tile < count)
    family = np.arange(len(names))
    for _ in names:
        least = np.full(count, len(names))
        np.minimum.at(least, tile[usual], family[wearer[usual]])
        joined = family.copy()
        np.minimum.at(joined, wearer[usual], least[tile[usual]])
        if (joined == family).all():
            break
        family = joined
    kinds, family = np.unique(family, return_inverse=True)
    worn = np.zeros((count + 1, len(kinds)), np.int64)
    np.add.at(worn, (tile, family[wearer]), times)
    total = worn[:count].sum(1)
    own = (worn[:count].max(1) > _OWN * total) & (total >= _SURE) & (len(kinds) > 1)
    return np.where(own, worn[:count].argmax(1) + 1, 0)


class _Builder:
    """Collects episodes of one world into common arrays."""

    def __init__(self) -> None:
        self.spec: WorldSpec | None = None
        self.tiles: list[np.ndarray] = []
        self.known: dict[bytes, int] = {}
        self.rows = 0
        self.columns: dict[str, list[np.ndarray]] = {}

    def add(self, episode: Episode) -> None:
        """Append the rows of ``episode``."""
        if self.spec is None:
            self.spec = episode.world
        elif self.spec != episode.world:
            raise DatasetError(
                f"{episode.world.name} seed {episode.seed}: recorded as {episode.world}, but other episodes as "
                f"{self.spec}; keep datasets with different numbers of subjects in different folders."
            )
        t = len(episode)
        ids = np.array(action_ids(episode.world.actions))
        identity = np.array([self._tile(tile) for tile in episode.identities()])
        new = {
            "grid": self._grid(episode).astype(np.int32),
            "position": episode.states.position.astype(np.float32),
            "facing": episode.states.facing.astype(np.int64),
            "alive": episode.states.alive,
            "action": np.where(episode.actions >= 0, ids[episode.actions], -1).astype(np.int64),
            "reward": episode.rewards.astype(np.float32),
            "ended": (np.arange(t) == t - 1) & episode.ended,
            "first": np.full(t, self.rows, np.int64),
            "identity": np.broadcast_to(identity, (t, len(identity))).astype(np.int64),
        }
        for name, values in new.items():
            self.columns.setdefault(name, []).append(values)
        self.rows += t

    def table(self) -> WorldTable:
        """Return everything that was added."""
        if self.spec is None or not self.rows:
            raise DatasetError("no usable episodes; record some first (actionparty record WORLD --out DIR).")
        joined = {name: np.concatenate(parts) for name, parts in self.columns.items()}
        return WorldTable(self.spec, np.stack(self.tiles).reshape(-1, CELL_CHANNELS), **joined)

    def _tile(self, tile: np.ndarray) -> int:
        key = tile.tobytes()
        if key not in self.known:
            self.known[key] = len(self.tiles)
            self.tiles.append(tile)
        return self.known[key]

    def _grid(self, episode: Episode) -> np.ndarray:
        if episode.frames_raw is None:
            mapping = np.array([self._tile(tile) for tile in episode.tiles])
            return mapping[episode.grid].reshape(len(episode), -1)
        h, w = episode.world.grid
        cells = episode.frames_raw.reshape(len(episode), h, CELL, w, CELL, 3).transpose(0, 1, 3, 2, 4, 5)
        unique, inverse = np.unique(cells.reshape(-1, CELL_CHANNELS), axis=0, return_inverse=True)
        mapping = np.array([self._tile(tile.reshape(CELL, CELL, 3)) for tile in unique])
        return mapping[inverse].reshape(len(episode), -1)


def alive_age(alive: np.ndarray) -> Floats:
    """(T, N) bool -> (T, N) steps since each subject's aliveness last changed, counted from the first row."""
    age = np.zeros(alive.shape, np.float32)
    for t in range(1, len(alive)):
        age[t] = np.where(alive[t] == alive[t - 1], age[t - 1] + 1, 0)
    return age
