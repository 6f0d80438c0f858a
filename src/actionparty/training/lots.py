"""Lots: everything that is drawn in a sampled step, as numbers that follow from a seed, a step and a place.

Nothing is kept but the seed and the step of a rollout: any number can be had alone, in any order and on any device, so
that noise is drawn only for the cells that are rendered, and what a rollout draws never depends on its batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from actionparty.model.ops import CELL_CHANNELS
from actionparty.model.update import STATE_CHANNELS

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FACTORS = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
_STATES, _LOTS, _GATE, _PIXELS = (kind << 40 for kind in range(4))
"""Where the numbers of a kind begin in the sequence of a step."""


def scramble(number: Tensor) -> Tensor:
    """Return (...) long that looks random: bit mixing of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).

    The i-th number of the sequence of a ``key`` is ``scramble(key + (i + 1) * golden ratio)``.
    """
    number = (number ^ ((number >> 30) & (2**34 - 1))) * _FACTORS[0]
    number = (number ^ ((number >> 27) & (2**37 - 1))) * _FACTORS[1]
    return number ^ ((number >> 31) & (2**33 - 1))


def uniform(number: Tensor) -> Tensor:
    """Return float32 in [0, 1), multiples of 2**-24, from random ``number`` (...) long."""
    return ((number >> 40) & (2**24 - 1)).float() * 2**-24


def normal(number: Tensor) -> Tensor:
    """Return float32 (..., 2 n), normally distributed, from random ``number`` (..., n) long (Box and Muller, 1958).

    In float64 until the end (where the device has it): the last bits of a logarithm depend on where in a batch, and on
    which device, it is taken.
    """
    wide = torch.float32 if number.device.type == "mps" else torch.float64
    radius = (-2 * (1 - uniform(number).to(wide)).log()).sqrt()
    angle = uniform(number << 24).to(wide) * (2 * math.pi)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], -1).float()


@dataclass(frozen=True)
class StepNoise:
    """Everything random in one step of B rollouts."""

    key: Tensor
    """(B,) long, different for every seed and step"""

    @staticmethod
    def of(seed: Tensor, step: Tensor) -> StepNoise:
        """Return the noise of the ``step``-th step of rollouts with a ``seed``, both (B,) long."""
        return StepNoise(scramble(scramble(seed + _GOLDEN) + (step + 1) * _GOLDEN))

    def states(self, subjects: int) -> Tensor:
        """(B, N, STATE_CHANNELS) normal."""
        return normal(self._numbers(_STATES, subjects, STATE_CHANNELS // 2))

    def lots(self, subjects: int) -> Tensor:
        """(B, N, 2) uniform: where a jump lands, who wins a contested cell."""
        return uniform(self._numbers(_LOTS, subjects, 2))

    def gate(self, cells: int) -> Tensor:
        """(B, M) uniform."""
        return uniform(self._numbers(_GATE, cells, 1))[..., 0]

    def pixels(self, cells: Tensor) -> Tensor:
        """(B, C, 192) normal, of the ``cells`` (B, C) long."""
        half = CELL_CHANNELS // 2
        place = cells[..., None] * half + torch.arange(half, device=cells.device)
        return normal(self._at(_PIXELS + place))

    def _numbers(self, first: int, rows: int, columns: int) -> Tensor:
        place = torch.arange(rows * columns, device=self.key.device).reshape(1, rows, columns)
        return self._at(first + place)

    def _at(self, place: Tensor) -> Tensor:
        return scramble(self.key[:, None, None] + (place + 1) * _GOLDEN)


def happens(odds: Tensor, lots: Tensor, floor: float, ceiling: float) -> Tensor:
    """Draw what happens: never below ``floor``, always above ``ceiling``, in between where ``lots`` are below."""
    return (odds > ceiling) | ((odds > floor) & (lots < odds))


def draw_likely(logits: Tensor, lots: Tensor, least: float) -> Tensor:
    """Draw from ``logits`` (..., n) by inverse transform of uniform ``lots`` (...); long.

    What is less than ``least`` times as likely as the likeliest is left out (min-p sampling, arXiv 2407.01082): many
    walls, each hardly possible, together caught subjects that should have come back on the floor.
    """
    odds = logits.softmax(-1)
    odds = torch.where(odds < least * odds.amax(-1, keepdim=True), torch.zeros_like(odds), odds)
    cumulative = odds.cumsum(-1)
    return (cumulative < (lots * cumulative[..., -1])[..., None]).sum(-1).clamp(max=logits.shape[-1] - 1)


def settle(
    position: Tensor, now: Tensor, alive: Tensor, was_alive: Tensor, lots: Tensor, w: int, *, fixed: bool = False
) -> tuple[Tensor, Tensor]:
    """Let no two living subjects share a cell: who stayed keeps it, else the largest of ``lots`` (B, N) does.

    A loser stays where it was (B, N, 2); one that wanted to come back to life there waits. Returns positions and alive.
    Each pass can only send subjects back, so it ends after at most N passes; all are made where the amount of work is
    to be ``fixed``.
    """
    home = now.round()
    for _ in range(position.shape[1]):
        cell = position.round()
        index = cell[..., 1] * w + cell[..., 0]
        same = (index[:, :, None] == index[:, None, :]) & alive[:, :, None] & alive[:, None, :]
        stayed = ((cell == home).all(-1) & was_alive).float()
        strength = lots + 2 * stayed
        loses = (same & (strength[:, None, :] > strength[:, :, None])).any(-1) & (stayed == 0)
        if not fixed and not bool(loses.any()):
            break
        position = torch.where(loses[..., None], now, position)
        alive = alive & ~(loses & ~was_alive)
    return position, alive
