"""Clips: training windows drawn from recorded episodes, as tensors, without Python per frame.

All episodes of a world are one long table of tile indices; a clip is a few rows of it. Drawing is stateless: the same
generator gives the same clips, so a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from actionparty.errors import DatasetError
from actionparty.types import CELL, CELL_CHANNELS, Episode, WorldSpec
from actionparty.vocabulary import action_ids


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
    """All recorded steps of one world, in memory, and a way to draw clips from them."""

    def __init__(self, episodes: Iterable[Episode]) -> None:
        parts = _Parts()
        for episode in episodes:
            parts.add(episode)
        if parts.spec is None or not parts.grid:
            raise DatasetError("no usable episodes; record some first (actionparty record WORLD --out DIR).")
        self.spec: WorldSpec = parts.spec
        self.tiles = to_unit(torch.from_numpy(np.stack(parts.tiles)).reshape(-1, CELL_CHANNELS))
        """(P, 192) float in [-1, 1]"""
        self.grid = torch.from_numpy(np.concatenate(parts.grid).astype(np.int32))
        self.position = torch.from_numpy(np.concatenate(parts.position).astype(np.float32))
        self.facing = torch.from_numpy(np.concatenate(parts.facing).astype(np.int64))
        self.alive = torch.from_numpy(np.concatenate(parts.alive))
        self.action = torch.from_numpy(np.concatenate(parts.action).astype(np.int64))
        self.reward = torch.from_numpy(np.concatenate(parts.reward).astype(np.float32))
        self.age = torch.from_numpy(np.concatenate(parts.age).astype(np.float32))
        self.ended = torch.from_numpy(np.concatenate(parts.ended))
        self.first = torch.from_numpy(np.concatenate(parts.first).astype(np.int64))
        """(T,) first row of the episode that each row belongs to"""
        self.identity = torch.from_numpy(np.concatenate(parts.identity).astype(np.int64))
        rows = torch.arange(len(self.grid))
        self.targets = rows[rows > self.first]
        """Rows that can be a target: all but the first of each episode."""
        self.eventful = self.targets[(~self.alive[self.targets - 1]).any(1)]
        """Targets before which a subject is gone: the only rows that show how one comes back."""
        if not len(self.targets):
            raise DatasetError(f"{self.spec.name}: the recorded episodes have no steps.")
        self.common = self.grid.mode(0).values.long()
        """(M,) the most common tile of each cell: what is there when nobody is."""
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

    def draw(self, batch: int, context: int, memory: int, generator: torch.Generator, eventful: float = 0.0) -> Clips:
        """Draw ``batch`` clips with ``context`` frames and ``memory`` rows of states, a share of them ``eventful``."""
        pick = torch.randint(len(self.targets), (batch,), generator=generator, device=generator.device)
        rows = self.targets[pick]
        if eventful and len(self.eventful):
            other = torch.randint(len(self.eventful), (batch,), generator=generator, device=generator.device)
            chosen = torch.rand(batch, generator=generator, device=generator.device) < eventful
            rows = torch.where(chosen, self.eventful[other], rows)
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


class _Parts:
    """Collects episodes of one world into common tables."""

    def __init__(self) -> None:
        self.spec: WorldSpec | None = None
        self.tiles: list[np.ndarray] = []
        self.known: dict[bytes, int] = {}
        self.rows = 0
        self.grid: list[np.ndarray] = []
        self.position: list[np.ndarray] = []
        self.facing: list[np.ndarray] = []
        self.alive: list[np.ndarray] = []
        self.action: list[np.ndarray] = []
        self.reward: list[np.ndarray] = []
        self.age: list[np.ndarray] = []
        self.ended: list[np.ndarray] = []
        self.first: list[np.ndarray] = []
        self.identity: list[np.ndarray] = []

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

    def add(self, episode: Episode) -> None:
        if self.spec is None:
            self.spec = episode.world
        elif self.spec != episode.world:
            raise DatasetError(
                f"{episode.world.name} seed {episode.seed}: recorded as {episode.world}, but other episodes as "
                f"{self.spec}; keep datasets with different numbers of subjects in different folders."
            )
        t = len(episode)
        ids = np.array(action_ids(episode.world.actions))
        self.grid.append(self._grid(episode))
        self.position.append(episode.states.position)
        self.facing.append(episode.states.facing)
        self.alive.append(episode.states.alive)
        self.action.append(np.where(episode.actions >= 0, ids[episode.actions], -1))
        self.reward.append(episode.rewards)
        self.age.append(alive_age(episode.states.alive))
        self.ended.append((np.arange(t) == t - 1) & episode.ended)
        self.first.append(np.full(t, self.rows))
        identity = np.array([self._tile(tile) for tile in episode.identities()])
        self.identity.append(np.broadcast_to(identity, (t, len(identity))))
        self.rows += t


def alive_age(alive: np.ndarray) -> np.ndarray:
    """(T, N) bool -> (T, N) steps since each subject's aliveness last changed, counted from the first row."""
    age = np.zeros(alive.shape, np.float32)
    for t in range(1, len(alive)):
        age[t] = np.where(alive[t] == alive[t - 1], age[t - 1] + 1, 0)
    return age
