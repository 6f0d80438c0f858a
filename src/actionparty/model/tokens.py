"""How cells and subjects become tokens. A subject token holds what is its own: place, facing, picture, action, past."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from actionparty.config import ModelConfig
from actionparty.model.ops import CELL_CHANNELS
from actionparty.types import MAX_SUBJECTS
from actionparty.vocabulary import CAPACITY

FACING_COUNT = 4
_STATE = 2 + FACING_COUNT + 2
_PAST = 2 + FACING_COUNT + 2
_ACTION_WIDTH = 16
_AGE_SCALE = 5.0
_CLOCK_SCALE = 4.0
"""A clock of scale 1 drowned in a trained token (norm 43): the network never learned when subjects return."""
_REST_SCALE = 2.0
AGE_LIMIT = 63
"""Longer ages count as this; a scene should carry one row of states more, so that its ages are known."""


@dataclass(frozen=True)
class Subjects:
    """What is known of B x N subjects before a step. T rows of the past, oldest first; the last row is now."""

    position: Tensor
    """(B, T, N, 2) x, y in cells."""
    facing: Tensor
    """(B, T, N) long."""
    alive: Tensor
    """(B, T, N) bool."""
    past_action: Tensor
    """(B, T, N) long, index into the shared vocabulary of the action that led into each row; -1: none."""
    action: Tensor
    """(B, N) long, the action now chosen, index into the shared vocabulary."""
    age: Tensor
    """(B, N) steps since aliveness last changed."""
    identity: Tensor
    """(B, N, 192) picture of each subject in [-1, 1]."""
    mask: Tensor | None = None
    """(B, N) bool, False where a subject is only padding; None: all are real."""
    known_in_cells: Tensor | None = None
    """(B,) bool, see ``in_cells``; None: what the positions say"""

    def map(self, function: Callable[[Tensor], Tensor]) -> Subjects:
        """Apply ``function`` to every tensor."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        mapped: dict[str, Any] = {k: None if v is None else function(v) for k, v in values.items()}
        return replace(self, **mapped)

    @property
    def now(self) -> Tensor:
        """(B, N, 2) current positions."""
        return self.position[:, -1]

    @property
    def in_cells(self) -> Tensor:
        """(B,) bool: all have only ever stood at the centres of cells, so they move by whole cells."""
        return in_cells(self.position) if self.known_in_cells is None else self.known_in_cells

    @property
    def presence(self) -> Tensor:
        """(B, N) float: 1 for a living, real subject."""
        alive = self.alive[:, -1].float()
        return alive if self.mask is None else alive * self.mask.float()


def in_cells(position: Tensor) -> Tensor:
    """Return (B,) bool, whether all of ``position`` (B, ...) are centres of cells."""
    return (position == position.round()).flatten(1).all(1)


def facing_code(facing: Tensor) -> Tensor:
    """(...) long -> (..., 4): +1 at the facing, -1 elsewhere."""
    return functional.one_hot(facing, FACING_COUNT).float() * 2 - 1


def resting(subjects: Subjects, memory: int) -> Tensor:
    """Return (B, N) long in 0 .. memory - 1: the last steps, of those remembered, that left place and facing alone."""
    position, facing = subjects.position[:, -memory:], subjects.facing[:, -memory:]
    changed = (position[:, 1:] != position[:, :-1]).any(-1) | (facing[:, 1:] != facing[:, :-1])
    return (changed.flip(1).cumsum(1) == 0).sum(1)


class CellTokens(nn.Module):
    """One token per cell: the same cell of the last K frames, stacked."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(CELL_CHANNELS * config.context, config.width)

    def forward(self, context: Tensor) -> Tensor:
        """(B, K, M, 192) -> (B, M, width)."""
        result: Tensor = self.embed(context.transpose(1, 2).flatten(2))
        return result


class SubjectTokens(nn.Module):
    """One token per subject; an action enters the token of its own subject and nothing else."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.memory = config.memory
        self.slot = None if config.spatial_bias else nn.Embedding(MAX_SUBJECTS, config.width)
        self.state = nn.Linear(_STATE + CELL_CHANNELS, config.width)
        self.action = nn.Embedding(CAPACITY, config.width)
        self.past_action = nn.Embedding(CAPACITY + 1, _ACTION_WIDTH)
        self.past = nn.Linear(config.memory * (_PAST + _ACTION_WIDTH), config.width)
        self.clock = nn.Embedding(AGE_LIMIT + 1, config.width)
        nn.init.normal_(self.clock.weight, std=_CLOCK_SCALE)
        self.rest = nn.Embedding(config.memory, config.width) if config.rest_clock else None
        if self.rest is not None:
            nn.init.normal_(self.rest.weight, std=_REST_SCALE)
            nn.init.zeros_(self.rest.weight[0])

    def forward(self, subjects: Subjects, size: Tensor) -> Tensor:
        """Return (B, N, width). ``size`` is (w, h) of the frame in cells, (2,) or (B, 1, 2)."""
        token: Tensor = self.state(torch.cat([self._now(subjects, size), subjects.identity], -1))
        action: Tensor = self.action(subjects.action)
        past: Tensor = self.past(self._past(subjects))
        token = token + action + past + self._absence(subjects)
        if self.rest is not None:
            token = token + self.rest(resting(subjects, self.memory)) * subjects.presence[..., None].to(token.dtype)
        return token if self.slot is None else token + self.slot.weight[: token.shape[1]]

    def _absence(self, subjects: Subjects) -> Tensor:
        """(B, N, width) how long each subject that is gone has been so, exactly; zero for the living."""
        clock: Tensor = self.clock(subjects.age.long().clamp(0, AGE_LIMIT))
        return clock * (~subjects.alive[:, -1, :, None]).to(clock.dtype)

    @staticmethod
    def _now(subjects: Subjects, size: Tensor) -> Tensor:
        place = (subjects.now.float() + 0.5) / size * 2 - 1
        age = torch.log1p(subjects.age.float().clamp(max=AGE_LIMIT))[..., None] / _AGE_SCALE
        alive = subjects.alive[:, -1, :, None].float() * 2 - 1
        return torch.cat([place, facing_code(subjects.facing[:, -1]), alive, age], -1)

    def _past(self, subjects: Subjects) -> Tensor:
        """(B, N, memory * features), zeros where the past is shorter than the memory."""
        t = min(self.memory, subjects.position.shape[1])
        moved = (subjects.position[:, -t:] - subjects.now[:, None]).float().clamp(-4, 4) / 4
        alive = subjects.alive[:, -t:, :, None].float() * 2 - 1
        known = torch.ones_like(alive)
        action = self.past_action(subjects.past_action[:, -t:] + 1)
        past = torch.cat([moved, facing_code(subjects.facing[:, -t:]), alive, known, action], -1)
        past = functional.pad(past, (0, 0, 0, 0, self.memory - t, 0))
        return past.permute(0, 2, 1, 3).flatten(2)


class PooledTokens(nn.Module):
    """All actions in one vector, as in models of a single agent; slots only carry it on. For comparison."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.slot = nn.Embedding(MAX_SUBJECTS, config.width)
        self.action = nn.Embedding(CAPACITY, config.width)
        self.mix = nn.Sequential(
            nn.Linear(config.width, 4 * config.width), nn.GELU(), nn.Linear(4 * config.width, config.width)
        )

    def pool(self, subjects: Subjects) -> Tensor:
        """Return (B, 1, width): every action through its slot, added up."""
        mixed: Tensor = self.mix(self.action(subjects.action) + self.slot.weight[: subjects.action.shape[1]])
        if subjects.mask is not None:
            mixed = mixed * subjects.mask[..., None]
        return mixed.sum(1, keepdim=True)

    def forward(self, subjects: Subjects, size: Tensor) -> Tensor:
        """Return (B, N, width); ``size`` is not needed."""
        return self.pool(subjects) + self.slot.weight[: subjects.action.shape[1]]
