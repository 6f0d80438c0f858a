"""Lots: everything that is drawn in a sampled step, from noise that is given."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from actionparty.model.ops import CELL_CHANNELS
from actionparty.model.update import STATE_CHANNELS


@dataclass(frozen=True)
class StepNoise:
    """Everything random in one step."""

    states: Tensor
    """(B, N, STATE_CHANNELS) normal"""
    lots: Tensor
    """(B, N, 2) uniform: where a jump lands, who wins a contested cell"""
    gate: Tensor
    """(B, M) uniform"""
    pixels: Tensor
    """(B, M, 192) normal"""

    @staticmethod
    def draw(generators: list[torch.Generator], subjects: int, cells: int) -> StepNoise:
        """Draw one step for each of B ``generators``: a rollout's noise never depends on its batch."""
        shapes = ((subjects, STATE_CHANNELS), (cells, CELL_CHANNELS)), ((subjects, 2), (cells,))
        normal = [[torch.randn(s, generator=g, device=g.device) for s in shapes[0]] for g in generators]
        uniform = [[torch.rand(s, generator=g, device=g.device) for s in shapes[1]] for g in generators]
        states, pixels = (torch.stack(column) for column in zip(*normal, strict=True))
        lots, gate = (torch.stack(column) for column in zip(*uniform, strict=True))
        return StepNoise(states, lots, gate, pixels)


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
    position: Tensor, now: Tensor, alive: Tensor, was_alive: Tensor, lots: Tensor, w: int
) -> tuple[Tensor, Tensor]:
    """Let no two living subjects share a cell: who stayed keeps it, else the largest of ``lots`` (B, N) does.

    A loser stays where it was (B, N, 2); one that wanted to come back to life there waits. Returns positions and alive.
    Each pass can only send subjects back, so it ends after at most N passes.
    """
    home = now.round()
    for _ in range(position.shape[1]):
        cell = position.round()
        index = cell[..., 1] * w + cell[..., 0]
        same = (index[:, :, None] == index[:, None, :]) & alive[:, :, None] & alive[:, None, :]
        stayed = ((cell == home).all(-1) & was_alive).float()
        strength = lots + 2 * stayed
        loses = (same & (strength[:, None, :] > strength[:, :, None])).any(-1) & (stayed == 0)
        if not bool(loses.any()):
            break
        position = torch.where(loses[..., None], now, position)
        alive = alive & ~(loses & ~was_alive)
    return position, alive
