"""Labelled tiles: which subject, and which facing, the picture in a cell shows. Built from recordings, shipped as .npz.

A tile seen at the known cell of a living subject is counted for that subject and its facing, any other sighting for
the background; whoever has 90% of a tile's sightings owns it. What a subject carries, the floor it stands on, beams
over it and colours it was given need no rule of their own: the tiles that show them were recorded and counted alike.

Owners are *looks*. Where every subject keeps its colours from one episode to the next, look i is subject i.

Some worlds draw several subjects exactly alike, and no picture can tell who is who. Their tiles belong to a shared
look (``groups``); whoever reads a frame must be told where each of them is believed to be, and reports name them.

Other worlds redraw the colours in every episode (``coins``): there, counting by subject index says nothing over many
episodes although each episode alone is clear. The builder notices this (``redrawn``), and lets tiles that one subject
showed in one episode share a look; looks grow together over all episodes through the tiles they have in common (red
facing north, red facing east...). ``wearers`` then says, from the recording of one episode, which subject wears which
look in it. For such a world the labels of the held-out recordings are joined to the shipped ones, so that colours never
seen in training are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from actionparty.data.files import NPZ_DAMAGE
from actionparty.errors import DatasetError, InvalidInputError
from actionparty.evaluation.moves import OPEN, SOLID, UNKNOWN, inside, intended, move_table
from actionparty.evaluation.tiles import Cells, TileTable, distinct, merge_tiles, to_cells
from actionparty.types import CELL_CHANNELS, Bools, Episode, Ints

BACKGROUND, AMBIGUOUS = -1, -2
OWNED = 0.9
"""Share of a tile's sightings that its owner (or its facing) must have."""
_OPEN_SHARE, _SOLID_TRIES = 0.75, 3
_VERSION = 1


@dataclass(frozen=True)
class TileLabels:
    """What is known of the P distinct tiles of a world."""

    world: str
    subjects: int
    looks: int
    """Number of different looks; equals ``subjects`` unless ``redrawn``."""
    redrawn: bool
    """Whether looks change hands from episode to episode."""
    members: Bools
    """(looks, N) the subjects that wear each look: one, or several that look alike; nobody where ``redrawn``."""
    mortal: bool
    """Whether a subject was ever recorded as not alive; elsewhere a model that says so is wrong."""
    tiles: Cells
    """(P, 192)"""
    look: Ints
    """(P,) owner of each tile, ``BACKGROUND`` or ``AMBIGUOUS``."""
    facing: Ints
    """(P,) index into ``FACINGS``; -1 where the tile does not tell."""
    count: Ints
    """(P,) sightings in all recordings."""
    entered: Ints
    """(P,) free moves into a cell showing this tile that went through..."""
    blocked: Ints
    """(P,) ...and that left the subject where it was."""

    def passable(self) -> Ints:
        """Return (P,) ``OPEN``, ``SOLID`` or ``UNKNOWN``: whether subjects go into cells that show each tile."""
        tries = self.entered + self.blocked
        is_open = (self.entered > 0) & (self.entered >= _OPEN_SHARE * tries)
        is_solid = (self.entered == 0) & (tries >= _SOLID_TRIES)
        return np.where(is_open, OPEN, np.where(is_solid, SOLID, UNKNOWN)).astype(np.int64)

    def groups(self) -> list[tuple[int, Ints]]:
        """Return every look that several subjects share, with those subjects."""
        return [(k, np.flatnonzero(row)) for k, row in enumerate(self.members) if row.sum() > 1]

    def wearers(self, episode: Episode) -> Ints:
        """Return (looks,) the subject that wears each look in this episode, -1 where nobody (or no single one) does."""
        if not self.redrawn:
            return np.where(self.members.sum(1) == 1, self.members.argmax(1), -1)
        sightings = _sightings(episode)
        index = TileTable(self.tiles).exact(sightings.tiles)
        look = np.where(index >= 0, self.look[index], BACKGROUND)
        worn = np.zeros((self.looks, self.subjects), np.int64)
        np.add.at(worn, look[look >= 0], sightings.seen.sum(2)[look >= 0])
        return _owner(worn, worn.sum(1))

    def save(self, path: Path) -> None:
        """Write one .npz without pickled objects."""
        path.parent.mkdir(parents=True, exist_ok=True)
        values: dict[str, Any] = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        with path.open("wb") as file:
            np.savez_compressed(file, version=np.asarray(_VERSION), **values)

    @staticmethod
    def load(path: Path) -> TileLabels:
        """Read what ``save`` wrote; raise ``DatasetError`` where the file is missing, damaged or of another version."""
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                values = {name: file[name] for name in file.files}
        except FileNotFoundError as error:
            raise DatasetError(f"{path}: no such tile labels; build them from recordings of the world.") from error
        except NPZ_DAMAGE as error:
            raise DatasetError(f"{path}: damaged file of tile labels ({error}); build it again.") from error
        names = {f.name for f in fields(TileLabels)}
        if int(values.pop("version", -1)) != _VERSION or set(values) != names:
            raise DatasetError(f"{path}: tile labels of another version; build them again from recordings.")
        plain = {k: v.item() if v.ndim == 0 else v for k, v in values.items()}
        return TileLabels(**plain)


@dataclass(frozen=True)
class _Sightings:
    """Counts over the distinct tiles of one episode."""

    tiles: Cells
    seen: Ints
    """(P, N, 4) at the cell of a living subject of that facing."""
    background: Ints
    entered: Ints
    blocked: Ints


def tile_grid(episode: Episode) -> tuple[Cells, Ints]:
    """Return the distinct tiles (P, 192) of an episode and (T, h, w) which of them each cell shows."""
    if episode.frames_raw is None:
        tiles, rows = distinct(episode.tiles.reshape(-1, CELL_CHANNELS))  # nobody says that the table has no doubles
        return tiles, rows[episode.grid]
    cells = to_cells(episode.frames_raw)
    tiles, index = distinct(cells.reshape(-1, CELL_CHANNELS))
    return tiles, index.reshape(len(episode), *episode.world.grid)


def _sightings(episode: Episode) -> _Sightings:
    tiles, grid = tile_grid(episode)
    cells, facing = episode.states.cells, episode.states.facing
    step, subject = np.nonzero(episode.states.alive & inside(cells, episode.world.grid))
    x, y = cells[step, subject].T
    seen = np.zeros((len(tiles), episode.world.subjects, 4), np.int64)
    np.add.at(seen, (grid[step, y, x], subject, facing[step, subject]), 1)
    free = np.ones(grid.shape, bool)
    free[step, y, x] = False
    background = np.bincount(grid[free], minlength=len(tiles))
    return _Sightings(tiles, seen, background, *_moves_into(episode, grid, len(tiles)))


def _moves_into(episode: Episode, grid: Ints, tiles: int) -> tuple[Ints, Ints]:
    """Count, per tile, uncontested step actions towards it that went through and that did not."""
    states, shape = episode.states, episode.world.grid
    before, after = states.cells[:-1], states.cells[1:]
    actions = np.maximum(episode.actions[1:], 0)
    moves = move_table(episode.world.actions)[actions] * (episode.actions[1:] >= 0)[..., None]
    target, _ = intended(before, states.facing[:-1], moves)
    tried = moves[..., :2].any(-1) & states.alive[:-1] & states.alive[1:] & inside(target, shape)
    tried &= ~_taken(target, before, states.alive[:-1]) & ~_taken(target, after, states.alive[1:])
    step, subject = np.nonzero(tried)
    x, y = target[step, subject].T
    tile = grid[step, y, x]
    went = (after == target).all(-1)[step, subject]
    stayed = (after == before).all(-1)[step, subject]
    return np.bincount(tile[went], minlength=tiles), np.bincount(tile[stayed], minlength=tiles)


def _taken(target: Ints, cells: Ints, alive: Bools) -> Bools:
    """Return (T, N) whether another living subject is at each subject's target."""
    hit = (target[:, :, None] == cells[:, None]).all(-1) & alive[:, None]
    hit[:, np.arange(hit.shape[1]), np.arange(hit.shape[1])] = False
    return np.asarray(hit.any(-1))


def _owner(counts: Ints, total: Ints) -> Ints:
    """Return the column that holds at least ``OWNED`` of each row's total, -1 where none does."""
    best = counts.argmax(1)
    top = counts[np.arange(len(counts)), best]
    return np.where((top > 0) & (top >= OWNED * total), best, -1).astype(np.int64)


def build_labels(episodes: Iterable[Episode], redrawn: bool | None = None) -> TileLabels:
    """Label the tiles of one world from its recorded episodes; ``redrawn`` is found out where it is not given.

    Raises:
        InvalidInputError: no episode, or episodes of different worlds.
    """
    parts: list[_Sightings] = []
    worlds, mortal = [], False
    for episode in episodes:
        worlds.append(episode.world)
        mortal |= not bool(episode.states.alive.all())
        parts.append(_sightings(episode))
    if not worlds or any(w.name != worlds[0].name or w.subjects != worlds[0].subjects for w in worlds):
        raise InvalidInputError("tile labels need recorded episodes of one world with one number of subjects.")
    tiles, index = merge_tiles([p.tiles for p in parts])
    seen = np.zeros((len(tiles), worlds[0].subjects, 4), np.int64)
    background, entered, blocked = np.zeros((3, len(tiles)), np.int64)
    for part, rows in zip(parts, index, strict=True):
        seen[rows] += part.seen
        background[rows] += part.background
        entered[rows] += part.entered
        blocked[rows] += part.blocked
    total = seen.sum((1, 2))
    owner = _owner(seen.sum(2), total + background)
    if redrawn is None:
        clear = _clear_within(parts)
        redrawn = len(parts) > 1 and clear > max(0.5, 0.1 + float(total[owner >= 0].sum() / max(1, total.sum())))
    if redrawn:
        look = _cluster(len(tiles), _links(parts, index))
        members = np.zeros((int(look.max(initial=-1)) + 1, worlds[0].subjects), bool)
    else:
        look, members = _share(owner, seen.sum(2), background)
    look = np.where((look < 0) & (total >= OWNED * (total + background)), AMBIGUOUS, look)
    return TileLabels(
        worlds[0].name,
        worlds[0].subjects,
        len(members),
        bool(redrawn),
        members,
        mortal,
        tiles,
        look.astype(np.int64),
        _owner(seen.sum(1), total),
        total + background,
        entered,
        blocked,
    )


_Links = list[Sequence[Ints]]
"""For each episode, for each subject, the tiles that were clearly its own in that episode."""


def _links(parts: list[_Sightings], index: list[Ints]) -> _Links:
    links: _Links = []
    for part, rows in zip(parts, index, strict=True):
        owner = _owner(part.seen.sum(2), part.seen.sum((1, 2)) + part.background)
        links.append([rows[owner == i] for i in range(part.seen.shape[1])])
    return links


def _share(owner: Ints, seen: Ints, background: Ints) -> tuple[Ints, Bools]:
    """Give tiles that several subjects show a shared look, given their ``seen`` (P, N); return looks and their members.

    Subjects are alike when a tile that is not rare (0.5% of all sightings) shows now one, now the other. A subject that
    mostly looks like others owns no tile alone: what only it happened to show, they would show as well.
    """
    total = seen.sum(1)
    shared = (owner < 0) & (total >= OWNED * (total + background)) & (total >= 0.005 * total.sum())
    group = np.arange(seen.shape[1])
    for row in seen[shared]:
        alike = np.flatnonzero(row >= 0.02 * row.sum())
        group[np.isin(group, group[alike])] = group[alike[0]]
    common = seen[shared].sum(0) >= 0.5 * np.maximum(seen.sum(0), 1)
    look = np.where((owner >= 0) & common[owner], -1, owner)
    members = [np.eye(len(group), dtype=bool)]
    for name in np.unique(group):
        own = group == name
        if own.sum() > 1:
            theirs = (look < 0) & (total > 0) & (seen[:, own].sum(1) >= OWNED * (total + background))
            look = np.where(theirs, sum(map(len, members)), look)
            members.append(own[None])
    return look, np.concatenate(members)


def _clear_within(parts: list[_Sightings]) -> float:
    """Return the share of sightings whose tile is clear within its own episode."""
    clear, total = 0, 0
    for part in parts:
        seen = part.seen.sum((1, 2))
        clear += int(seen[_owner(part.seen.sum(2), seen + part.background) >= 0].sum())
        total += int(seen.sum())
    return clear / max(1, total)


def _cluster(tiles: int, links: _Links) -> Ints:
    """Return (tiles,) the look of each tile: linked tiles share one; a look worn by two at once is AMBIGUOUS."""
    parent = np.arange(tiles)
    linked = np.zeros(tiles, bool)
    for own in (rows for subjects in links for rows in subjects if len(rows)):
        linked[own] = True
        roots = np.unique([_root(parent, int(t)) for t in own])
        parent[roots] = roots[0]
    root = np.array([_root(parent, t) for t in range(tiles)], np.int64).reshape(-1)
    look = np.full(tiles, BACKGROUND, np.int64)
    names, compact = np.unique(root[linked], return_inverse=True)
    look[linked] = compact.reshape(-1)
    clash = np.zeros(len(names) + 1, bool)
    for subjects in links:
        worn = np.concatenate([np.unique(look[rows]) for rows in subjects])
        clash |= np.bincount(worn, minlength=len(clash)) > 1
    look[linked & clash[np.maximum(look, 0)]] = AMBIGUOUS
    return look


def _root(parent: Ints, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = int(parent[node])
    return node


def join_labels(a: TileLabels, b: TileLabels) -> TileLabels:
    """Return the labels of two sets of recordings of one redrawn world: looks that share a tile become one."""
    tiles, (rows_a, rows_b) = merge_tiles([a.tiles, b.tiles])
    links: _Links = [
        [rows[labels.look == i]] for labels, rows in ((a, rows_a), (b, rows_b)) for i in range(labels.looks)
    ]
    look = _cluster(len(tiles), links)
    facing = np.full(len(tiles), -1, np.int64)
    facing[rows_a] = a.facing
    facing[rows_b] = np.where(np.isin(rows_b, rows_a) & (facing[rows_b] != b.facing), -1, b.facing)
    for labels, rows in ((a, rows_a), (b, rows_b)):
        look[rows[labels.look == AMBIGUOUS]] = AMBIGUOUS
        look[rows[(labels.look == BACKGROUND) & (look[rows] >= 0)]] = AMBIGUOUS
    sums = []
    for name in ("count", "entered", "blocked"):
        total = np.zeros(len(tiles), np.int64)
        total[rows_a] += getattr(a, name)
        total[rows_b] += getattr(b, name)
        sums.append(total)
    looks = int(look.max(initial=-1)) + 1
    nobody = np.zeros((looks, a.subjects), bool)
    return TileLabels(a.world, a.subjects, looks, True, nobody, a.mortal or b.mortal, tiles, look, facing, *sums)
