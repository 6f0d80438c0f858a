"""Where is every subject in a frame? Cells are read as the nearest labelled tile. Knows labels and pixels, no model.

A cell shows a subject where the nearest labelled tile is that subject's, close enough (``REJECT``), and clearly
nearer than any tile of another owner, background included (``MARGIN``); anything else is not a detection. Its facing
is told by the same margin among the subject's own tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from actionparty.evaluation.labels import BACKGROUND, TileLabels, build_labels, join_labels
from actionparty.evaluation.tiles import Cells, TileTable, distinct, same, to_cells
from actionparty.types import CELL_CHANNELS, Bools, Episode, Floats, Ints, SubjectStates

REJECT = 32.0
"""Root mean square distance, in levels of 0 to 255, beyond which a cell shows no known tile."""
MARGIN = 0.75
"""The nearest tile must be within this share of the distance to the nearest tile that says otherwise."""
ACCURATE = 0.995
"""A world whose detector is less accurate on real frames is flagged."""
_CHUNK = 4096


@dataclass(frozen=True)
class Detections:
    """What was found of N subjects in a batch of frames (or at many steps): any leading axes."""

    count: Ints
    """(..., N) cells that show the subject."""
    cell: Ints
    """(..., N, 2) x and y where the count is one, else -1."""
    facing: Ints
    """(..., N) index into ``FACINGS`` where the count is one and the tile tells, else -1."""

    def __getitem__(self, key: int | slice | NDArray[np.int64]) -> Detections:
        return Detections(self.count[key], self.cell[key], self.facing[key])

    def matches(self, states: SubjectStates) -> Bools:
        """Return (..., N) whether a subject is seen exactly once, at the cell and with the facing of ``states``."""
        placed = (self.cell == states.cells).all(-1) & (self.facing == states.facing)
        return np.asarray((self.count == 1) & placed)


@dataclass(frozen=True)
class Reading:
    """Every cell of a batch of frames, read: looks and facings (B, h, w)."""

    look: Ints
    facing: Ints

    def owners(self, wearers: Ints, labels: TileLabels, believed: SubjectStates) -> Ints:
        """Return (B, h, w) the subject in each cell, -1 for none; ``wearers`` (B, looks) names who wears which look.

        Subjects that look alike are told apart by where they are ``believed`` to be, (B, N, ...): each sighting goes to
        the one believed there, else to the nearest that is still missing, else (a sighting too many) to the nearest.
        """
        owners = self._plain_owners(wearers)
        for look, members in labels.groups():
            for b in np.flatnonzero((self.look == look).any((1, 2))):
                places = np.argwhere(self.look[b] == look)[:, ::-1]
                living = members[believed.alive[b, members]]
                chosen = living if len(living) else members
                owners[b, places[:, 1], places[:, 0]] = chosen[_match(places, believed.cells[b, chosen])]
        return owners

    def _plain_owners(self, wearers: Ints) -> Ints:
        padded = np.concatenate([wearers, np.full((len(wearers), 1), -1)], 1)
        picked = np.take_along_axis(padded, self.look.reshape(len(wearers), -1), 1)
        return np.where(self.look >= 0, picked.reshape(self.look.shape), -1)

    def detect(self, owners: Ints, subjects: int) -> Detections:
        """Return the detections (B, N) of ``subjects`` in the grid of ``owners`` (B, h, w)."""
        b, _, w = owners.shape
        flat = owners.reshape(b, -1)
        row, place = np.nonzero(flat >= 0)
        subject = flat[row, place]
        count = np.zeros((b, subjects), np.int64)
        np.add.at(count, (row, subject), 1)
        cell = np.full((b, subjects, 2), -1, np.int64)
        facing = np.full((b, subjects), -1, np.int64)
        cell[row, subject] = np.stack([place % w, place // w], -1)
        facing[row, subject] = self.facing.reshape(b, -1)[row, place]
        once = count == 1
        return Detections(count, np.where(once[..., None], cell, -1), np.where(once, facing, -1))


def _match(places: Ints, cells: Ints) -> Ints:
    """Return (K,) which of M believed ``cells`` (M, 2) each of K ``places`` (K, 2) is: nearest pairs first."""
    distance = np.abs(places[:, None] - cells[None]).sum(-1)
    out = np.full(len(places), -1)
    missing = np.ones(len(cells), bool)
    for k, m in zip(*np.unravel_index(np.argsort(distance, axis=None, kind="stable"), distance.shape), strict=True):
        if out[k] < 0 and missing[m]:
            out[k], missing[m] = m, False
    return np.where(out < 0, distance.argmin(1), out)


class Detector:
    """Reads cells by the labels of one world; safe to share, it keeps no state but its tables."""

    def __init__(self, labels: TileLabels) -> None:
        self.labels = labels
        self.vocabulary = TileTable(labels.tiles)
        self._near = _relevant(labels)
        order = np.lexsort((labels.facing[self._near], labels.look[self._near]))
        self._near = self._near[order]
        self._table = TileTable(labels.tiles[self._near])
        keys = np.stack([labels.look, labels.facing], 1)[self._near]
        keys[keys[:, 0] < 0, 1] = -1
        starts = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(1)]) if len(keys) else np.zeros(0, np.int64)
        self._starts, self._classes = starts, keys[starts]
        self._known = self._judge(self.vocabulary.tiles)

    def read_cells(self, cells: Cells) -> tuple[Ints, Ints]:
        """Return the look and facing (n,) of cells (n, 192); ``BACKGROUND`` and -1 where no subject is seen."""
        index = self.vocabulary.exact(cells)
        look = np.where(index >= 0, self._known[0][index] if len(self.vocabulary) else -1, BACKGROUND)
        facing = np.where(index >= 0, self._known[1][index] if len(self.vocabulary) else -1, -1)
        rest = np.flatnonzero(index < 0)
        if len(rest):
            fresh, inverse = distinct(cells[rest])
            judged = self._judge(fresh)
            look[rest], facing[rest] = judged[0][inverse], judged[1][inverse]
        return look, facing

    def read(self, frames: NDArray[np.uint8]) -> Reading:
        """Read frames (B, H, W, 3)."""
        cells = to_cells(frames)
        look, facing = self.read_cells(cells.reshape(-1, CELL_CHANNELS))
        shape = (len(frames), frames.shape[1] // 8, frames.shape[2] // 8)
        return Reading(look.reshape(shape), facing.reshape(shape))

    def _judge(self, cells: Cells) -> tuple[Ints, Ints]:
        """Return look and facing of distinct cells by distance."""
        look = np.full(len(cells), BACKGROUND, np.int64)
        facing = np.full(len(cells), -1, np.int64)
        for start in range(0, len(cells) if len(self._table) else 0, _CHUNK):
            rows = slice(start, start + _CHUNK)
            nearest = np.minimum.reduceat(self._table.distances(cells[rows]), self._starts, axis=1)
            look[rows], facing[rows] = _decide(nearest, self._classes)
        return look, facing


def _relevant(labels: TileLabels) -> Ints:
    """Return the tiles that can decide a detection: those of subjects, and others near enough to one to rival it.

    A cell within ``REJECT`` of a subject's tile can only be disputed by a tile within REJECT / MARGIN of the cell.
    """
    own = np.flatnonzero(labels.look >= 0)
    rest = np.flatnonzero(labels.look < 0)
    table = TileTable(labels.tiles[own])
    reach = REJECT + REJECT / MARGIN
    near = [(table.distances(labels.tiles[rest[i : i + _CHUNK]]) < reach).any(1) for i in range(0, len(rest), _CHUNK)]
    return np.concatenate([own, rest[np.concatenate([np.zeros(0, bool), *near])]])


def _decide(nearest: Floats, classes: Ints) -> tuple[Ints, Ints]:
    """Judge cells by their distance (n, C) to the nearest tile of each class, ``classes`` (C, 2) look and facing."""
    rows = np.arange(len(nearest))
    best = nearest.argmin(1)
    distance = nearest[rows, best]
    look, facing = classes[best].T
    mine = classes[None, :, 0] == look[:, None]
    other = np.where(mine, np.inf, nearest).min(1)
    turned = np.where(mine & (classes[None, :, 1] != facing[:, None]), nearest, np.inf).min(1)
    seen = (look >= 0) & (distance <= REJECT) & (distance <= MARGIN * other)
    clear = seen & (distance <= MARGIN * turned)
    return np.where(seen, look, BACKGROUND), np.where(clear, facing, -1)


class FrameReader:
    """Reads a stream of batches; a cell that did not change since the last batch is not read again."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._cells: Cells | None = None
        self._look: Ints = np.zeros(0, np.int64)
        self._facing: Ints = np.zeros(0, np.int64)

    @property
    def cells(self) -> Cells:
        """(B, h * w, 192) the cells of the last batch."""
        assert self._cells is not None
        return self._cells

    def read(self, frames: NDArray[np.uint8]) -> Reading:
        """Read the next frames (B, H, W, 3) of the same B streams."""
        cells = to_cells(frames)
        if self._cells is None or self._cells.shape != cells.shape:
            changed = np.ones(cells.shape[:2], bool)
            self._look, self._facing = np.full((2, *cells.shape[:2]), -1, np.int64)
        else:
            changed = ~same(cells, self._cells)
        if changed.any():
            self._look[changed], self._facing[changed] = self._detector.read_cells(cells[changed])
        self._cells = cells
        shape = (len(frames), frames.shape[1] // 8, frames.shape[2] // 8)
        return Reading(self._look.reshape(shape).copy(), self._facing.reshape(shape).copy())


def detect_episode(detector: Detector, episode: Episode, batch: int = 64, dressed: Episode | None = None) -> Detections:
    """Return the detections (T, N) in the real frames of an episode; ``dressed`` tells who wears what (default: it)."""
    wearers = detector.labels.wearers(dressed or episode)[None]
    found = []
    for start in range(0, len(episode), batch):
        frames = episode.frames(start, start + batch)
        reading = detector.read(frames)
        states = episode.states[start : start + len(frames)]
        owners = reading.owners(np.repeat(wearers, len(frames), 0), detector.labels, states)
        found.append(reading.detect(owners, episode.world.subjects))
    return Detections(*(np.concatenate([getattr(d, name) for d in found]) for name in ("count", "cell", "facing")))


def detector_accuracy(
    detector: Detector, episodes: Sequence[Episode], dressed: Sequence[Episode] | None = None
) -> tuple[Ints, Ints]:
    """Return, per episode, how many living (subject, step) pairs are detected right in real frames, and of how many.

    ``dressed`` are the recordings that tell who wears what in each episode (default: the episodes themselves).
    """
    right = np.zeros(len(episodes), np.int64)
    total = np.zeros(len(episodes), np.int64)
    for k, episode in enumerate(episodes):
        alive = episode.states.alive
        seen = detect_episode(detector, episode, dressed=None if dressed is None else dressed[k])
        right[k] = (seen.matches(episode.states) & alive).sum()
        total[k] = alive.sum()
    return right, total


def folded_accuracy(known: TileLabels, episodes: Sequence[Episode], shipped: bool) -> tuple[Ints, Ints]:
    """Return what ``detector_accuracy`` does, by labels that come from none of the frames they are measured on.

    Labels that do not come from these episodes (``shipped``) are used as they are. Else those of one half of the
    episodes are measured on the other, both ways. Where colours are redrawn in every episode (or there is only one),
    those of the first half of each episode, joined to the shipped ones, are measured on its second half.
    """
    if shipped and not known.redrawn:
        return detector_accuracy(Detector(known), episodes)
    if not known.redrawn and len(episodes) > 1:
        right, total = np.zeros((2, len(episodes)), np.int64)
        for k in (0, 1):
            judge = Detector(build_labels(episodes[1 - k :: 2], redrawn=False))
            right[k::2], total[k::2] = detector_accuracy(judge, episodes[k::2])
        return right, total
    first = [_rows(e, 0, (len(e) + 1) // 2) for e in episodes]
    second = [_rows(e, (len(e) + 1) // 2, len(e)) for e in episodes]
    labels = build_labels(first, redrawn=known.redrawn)
    judge = Detector(join_labels(known, labels) if shipped else labels)
    return detector_accuracy(judge, second, first)


def _rows(episode: Episode, start: int, stop: int) -> Episode:
    """Return rows ``start`` to ``stop`` of an episode."""
    raw = episode.frames_raw
    return replace(
        episode,
        grid=episode.grid[start:stop],
        states=episode.states[start:stop],
        actions=episode.actions[start:stop],
        rewards=episode.rewards[start:stop],
        frames_raw=None if raw is None else raw[start:stop],
    )
