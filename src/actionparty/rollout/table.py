"""The table of a batch of rollouts: everything that changes from step to step, as tensors, and how it goes on."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from actionparty.config import ModelConfig
from actionparty.data.clips import to_pixels, to_unit
from actionparty.data.tables import alive_age
from actionparty.errors import InvalidInputError
from actionparty.model.tokens import Subjects, in_cells
from actionparty.training.sampling import SampledStep
from actionparty.types import CELL, CELL_CHANNELS, NO_ACTION, Frame, Scene
from actionparty.vocabulary import action_ids

Cells = TypeVar("Cells", NDArray[np.uint8], Tensor)


@dataclass(frozen=True)
class Table:
    """B rollouts as they stand. T rows of the past, oldest first."""

    context: Tensor
    """(B, K, M, 192) uint8"""
    position: Tensor
    """(B, T, N, 2)"""
    facing: Tensor
    alive: Tensor
    past_action: Tensor
    """(B, T, N)"""
    age: Tensor
    """(B, N)"""
    identity: Tensor
    """(B, N, 192) uint8"""
    in_cells: Tensor
    """(B,) bool, whether subjects move by whole cells: in the scene all stood at the centres of cells"""
    seed: Tensor
    """(B,) long: chance follows from it and from ``step``"""
    step: Tensor
    """(B,) long, steps since the seed was given"""

    def map(self, function: Callable[[Tensor], Tensor]) -> Table:
        """Apply ``function`` to every tensor."""
        return Table(**{name: function(value) for name, value in vars(self).items()})

    def subjects(self, action: Tensor) -> Subjects:
        """Return the subjects before a step with ``action`` (B, N), of the shared vocabulary."""
        return Subjects(
            self.position,
            self.facing,
            self.alive,
            self.past_action,
            action,
            self.age,
            to_unit(self.identity),
            known_in_cells=self.in_cells,
        )

    def advance(self, sampled: SampledStep, action: Tensor) -> Table:
        """Return the table after a step with ``action`` (B, N), of the shared vocabulary."""
        steady = sampled.alive == self.alive[:, -1]
        return Table(
            _push(self.context, to_pixels(sampled.pixels)),
            _push(self.position, sampled.position),
            _push(self.facing, sampled.facing),
            _push(self.alive, sampled.alive),
            _push(self.past_action, action),
            torch.where(steady, self.age + 1, torch.zeros_like(self.age)),
            self.identity,
            self.in_cells,
            self.seed,
            self.step + 1,
        )


def first_table(scenes: Sequence[Scene], seeds: Sequence[int], config: ModelConfig) -> Table:
    """Return rollouts that start from one of ``scenes`` and one of ``seeds`` each."""
    rows = [_first(scene, config) for scene in scenes]
    columns = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    return Table(**columns, **fresh_chance(seeds))


def reseeded(table: Table, seeds: Sequence[int]) -> Table:
    """Return the same moments with other futures."""
    return replace(table, **{name: value.to(table.seed.device) for name, value in fresh_chance(seeds).items()})


def fresh_chance(seeds: Sequence[int]) -> dict[str, Tensor]:
    """Return the columns ``seed`` and ``step``, (B,) long, of rollouts that begin with ``seeds``."""
    return {"seed": _signed(seeds), "step": torch.zeros(len(seeds), dtype=torch.long)}


def _signed(seeds: Sequence[int]) -> Tensor:
    """(B,) long: ``seeds`` modulo 2**64; raise ``InvalidInputError`` where one is no whole number."""
    try:
        return torch.tensor([(operator.index(seed) + 2**63) % 2**64 - 2**63 for seed in seeds])
    except TypeError as error:
        raise InvalidInputError(f"seeds are whole numbers, but these are {reprlib.repr(seeds)}.") from error


def _first(scene: Scene, config: ModelConfig) -> dict[str, Tensor]:
    ids = np.array(action_ids(scene.world.actions))
    rows = np.maximum(np.arange(-config.memory, 0) + len(scene.actions), 0)
    frames = np.maximum(np.arange(-config.context, 0) + len(scene.frames), 0)
    known = np.arange(-config.memory, 0) + len(scene.actions) >= 0
    actions = np.where((scene.actions >= 0)[rows] & known[:, None], ids[scene.actions[rows]], -1)
    return {
        "context": torch.from_numpy(np.stack([to_cells(scene.frames[f]) for f in frames])),
        "position": torch.from_numpy(scene.states.position[rows].astype(np.float32)),
        "facing": torch.from_numpy(scene.states.facing[rows].astype(np.int64)),
        "alive": torch.from_numpy(scene.states.alive[rows].copy()),
        "past_action": torch.from_numpy(actions.astype(np.int64)),
        "age": torch.from_numpy(_age(scene)),
        "identity": torch.from_numpy(scene.identities.reshape(-1, CELL_CHANNELS).copy()),
        "in_cells": in_cells(torch.from_numpy(scene.states.position)[None])[0],
    }


def _age(scene: Scene) -> NDArray[np.float32]:
    """(N,) steps since aliveness last changed, as far as ``scene`` shows; repetitions of its first row don't count."""
    led = (scene.actions != NO_ACTION).any(1)
    before = int(led.argmax()) if led.any() else len(led)
    age: NDArray[np.float32] = alive_age(scene.states.alive[max(0, before - 1) :])[-1]
    return age


def _push(rows: Tensor, new: Tensor) -> Tensor:
    """Drop the oldest of ``rows`` (B, T, ...) and append ``new`` (B, ...)."""
    return torch.cat([rows[:, 1:], new[:, None].to(rows.dtype)], 1)


def to_cells(frame: Frame) -> NDArray[np.uint8]:
    """(H, W, 3) -> (M, 192), row by row."""
    h, w = frame.shape[0] // CELL, frame.shape[1] // CELL
    cells = frame.reshape(h, CELL, w, CELL, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(cells).reshape(h * w, CELL_CHANNELS)


def from_cells(cells: Cells, h: int, w: int) -> Cells:
    """(..., M, 192) -> (..., H, W, 3), of NumPy or of PyTorch."""
    frames: Cells = rearrange(cells, "... (h w) (i j c) -> ... (h i) (w j) c", h=h, w=w, i=CELL, j=CELL)
    return frames
