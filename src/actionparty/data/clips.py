"""Clips: training windows drawn from recorded episodes, as tensors, without Python per frame.

All episodes of a world are one long table of tile indices; a clip is a few rows of it. Drawing is stateless: the same
generator gives the same clips, so a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from actionparty.data.tables import WorldTable
from actionparty.errors import DatasetError
from actionparty.types import Episode, WorldSpec


def to_unit(pixels: Tensor) -> Tensor:
    """uint8 -> float in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def to_pixels(unit: Tensor) -> Tensor:
    """Float in [-1, 1] -> uint8, rounded (the exact inverse of ``to_unit``)."""
    return ((unit + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class Clips:
    """B clips of one world. Rows of states: oldest first, the last is the step before the target."""

    world: WorldSpec
    context: Tensor
    """(B, K, M) long, tile indices."""
    target: Tensor
    """(B, M) long."""
    position: Tensor
    """(B, T, N, 2) float."""
    facing: Tensor
    alive: Tensor
    past_action: Tensor
    """(B, T, N) vocabulary ids, -1 for none."""
    age: Tensor
    """(B, N) steps since aliveness changed."""
    action: Tensor
    """(B, N) vocabulary ids of the actions into the target."""
    next_position: Tensor
    next_facing: Tensor
    next_alive: Tensor
    reward: Tensor
    ended: Tensor
    """(B,) bool, the target ended the episode."""
    identity: Tensor
    """(B, N) long, tile indices."""
    rows: Tensor
    """(B,) which rows of the table the targets are."""


class WorldClips:
    """All recorded steps of one world (episodes, or their table), in memory, and a way to draw clips from them."""

    def __init__(self, episodes: Iterable[Episode] | WorldTable) -> None:
        table = episodes if isinstance(episodes, WorldTable) else WorldTable.of(episodes)
        self.spec: WorldSpec = table.spec
        self.tiles = to_unit(torch.from_numpy(table.tiles))
        """(P, 192) float in [-1, 1]"""
        self.grid = torch.from_numpy(table.grid)
        self.position = torch.from_numpy(table.position)
        self.facing = torch.from_numpy(table.facing)
        self.alive = torch.from_numpy(table.alive)
        self.action = torch.from_numpy(table.action)
        self.reward = torch.from_numpy(table.reward)
        self.age = torch.from_numpy(table.age)
        self.ended = torch.from_numpy(table.ended)
        self.first = torch.from_numpy(table.first)
        """(T,) first row of the episode that each row belongs to"""
        self.identity = torch.from_numpy(table.identity)
        rows = torch.arange(len(self.grid))
        self.targets = rows[rows > self.first]
        """Rows that can be a target: all but the first of each episode."""
        self.eventful = self.targets[(~self.alive[self.targets - 1]).any(1)]
        """Targets before which a subject is gone: the only rows that show how one comes back."""
        self.rarity = row_rarity(table)[self.targets].cumsum(0)
        """Cumulative odds of the targets when drawn by rarity."""
        if not len(self.targets):
            raise DatasetError(f"{self.spec.name}: the recorded episodes have no steps.")
        self.common = self.grid.mode(0).values.long()
        """(M,) the most common tile of each cell: what is there when nobody is."""
        self.changes = torch.from_numpy(table.changes())
        """(Q, 2) long, see ``WorldTable.changes``"""
        self.looks = torch.from_numpy(table.looks())
        """(P,) or (0,) long, see ``WorldTable.looks``"""
        w = self.spec.grid[1]
        living = self.position[self.alive].round().long()
        self.visited = torch.unique(living[:, 1] * w + living[:, 0])
        """(V,) cells on which a subject was ever seen."""

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device) -> WorldClips:
        """Move every table to ``device``, in place."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        return self

    def draw(
        self,
        batch: int,
        context: int,
        memory: int,
        generator: torch.Generator,
        eventful: float = 0.0,
        rare: float = 0.0,
    ) -> Clips:
        """Draw ``batch`` clips with ``context`` frames and ``memory`` rows of states.

        A share of them is ``eventful`` and another ``rare`` (drawn with odds of ``row_rarity``).
        """
        device = generator.device
        pick = torch.randint(len(self.targets), (batch,), generator=generator, device=device)
        rows = self.targets[pick]
        if not eventful and not rare:
            return self.at(rows, context, memory)
        lots = torch.rand(batch, generator=generator, device=device)
        if eventful and len(self.eventful):
            other = torch.randint(len(self.eventful), (batch,), generator=generator, device=device)
            rows = torch.where(lots < eventful, self.eventful[other], rows)
        if rare:
            where = torch.rand(batch, generator=generator, device=device, dtype=torch.float64) * self.rarity[-1]
            other = torch.searchsorted(self.rarity, where, right=True).clamp(max=len(self.targets) - 1)
            rows = torch.where(lots >= 1 - rare, self.targets[other], rows)
        return self.at(rows, context, memory)

    def at(self, rows: Tensor, context: int, memory: int, back: int = 0) -> Clips:
        """Return the clips whose targets are ``rows`` (B,), or ``back`` steps before them (not before row 1)."""
        first = self.first[rows]
        target = torch.maximum(rows - back, first + 1)
        steps = torch.arange(max(context, memory), 0, -1, device=rows.device)
        past = torch.maximum(target[:, None] - steps, first[:, None])
        known = target[:, None] - steps > first[:, None]
        action = torch.where(known[..., None], self.action[past], torch.full_like(self.action[past], -1))
        states = past[:, -memory:]
        return Clips(
            world=self.spec,
            context=self.grid[past[:, -context:]].long(),
            target=self.grid[target].long(),
            position=self.position[states],
            facing=self.facing[states],
            alive=self.alive[states],
            past_action=action[:, -memory:],
            age=self.age[target - 1],
            action=self.action[target],
            next_position=self.position[target],
            next_facing=self.facing[target],
            next_alive=self.alive[target],
            reward=self.reward[target],
            ended=self.ended[target],
            identity=self.identity[target],
            rows=target,
        )


def row_rarity(table: WorldTable) -> Tensor:
    """Return odds (R,) float64 of the rows of ``table``: how much more a row shows that is rarely seen.

    Everything that happens in a row has a kind: a cell changes from one tile to another, a subject's life ends or
    begins, a subject gets a reward of some size. A kind seen c times counts 1 / sqrt(c); a row counts as its rarest.
    """
    rows = len(table)
    odds = np.full(rows, 1e-6)
    for row, kind in _happenings(table):
        _, inverse, count = np.unique(kind, return_inverse=True, return_counts=True)
        np.maximum.at(odds, row, count[inverse] ** -0.5)
    return torch.from_numpy(odds)


def _happenings(table: WorldTable) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (rows, kinds) of the changes of cells, of lives and of rewards; the first row of an episode has none."""
    inside = table.inside
    before, after = table.grid[:-1], table.grid[1:]
    row, cell = np.nonzero((before != after) & inside[:, None])
    yield row + 1, before[row, cell].astype(np.int64) * len(table.tiles) + after[row, cell]
    row, subject = np.nonzero((table.alive[:-1] != table.alive[1:]) & inside[:, None])
    yield row + 1, table.alive[1:][row, subject].astype(np.int64)
    row, subject = np.nonzero(table.reward)
    yield row, table.reward[row, subject]
