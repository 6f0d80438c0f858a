"""Observe: cells and subjects look at each other once per frame. Deterministic; everything later reads its features."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from actionparty.config import ModelConfig
from actionparty.model.layers import Block
from actionparty.model.local import Windows
from actionparty.model.ops import (
    Rotary,
    cell_index,
    concat_rotary,
    gather_cells,
    grid_positions,
    grid_size,
    place,
    rotary,
    surroundings,
)
from actionparty.model.tokens import CellTokens, PooledTokens, Subjects, SubjectTokens


@dataclass(frozen=True)
class Observed:
    """Features of one frame, made once and read by update and render."""

    cells: Tensor
    """(B, M, width)"""
    subjects: Tensor
    """(B, N, width)"""
    position: Tensor
    """(B, N, 2) where the subjects are now."""
    facing: Tensor
    """(B, N) long, their facings now."""
    presence: Tensor
    """(B, N) 1 for living, real subjects."""
    grid: tuple[int, int]
    cell_table: Rotary
    cell_mask: Tensor | None
    """(B, M) bool, None where no cell is padding."""
    subject_mask: Tensor | None
    """(B, N) bool, None where no subject is padding."""


def join_masks(
    first: Tensor | None, second: Tensor | None, shapes: tuple[tuple[int, int], tuple[int, int]]
) -> Tensor | None:
    """Concatenate two key masks along tokens; None where neither hides anything. ``shapes``: (B, T) of each."""
    if first is None and second is None:
        return None
    device = (first if first is not None else second).device  # type: ignore[union-attr]
    parts = [
        torch.ones(shape, dtype=torch.bool, device=device) if mask is None else mask
        for mask, shape in zip((first, second), shapes, strict=True)
    ]
    return torch.cat(parts, 1)


def stand(position: Tensor, config: ModelConfig) -> Rotary:
    """Return the rotary table of subjects at ``position`` (B, N, 2); without the spatial bias all stand at (0, 0)."""
    bound = position if config.bound else torch.zeros_like(position)
    return rotary(bound, config.head_width, config.rope_base)


def view_layer(config: ModelConfig) -> nn.Linear | None:
    """Return the map of a subject's ``surroundings`` into its token, starting at zero; None without spatial bias."""
    if not config.bound:
        return None
    view = nn.Linear(9 * config.width, config.width, bias=False)
    nn.init.zeros_(view.weight)
    return view


@dataclass(frozen=True)
class Tokens:
    """A frame and its subjects as one sequence."""

    sequence: Tensor
    """(B, M + N + registers, width), cells first."""
    table: Rotary
    cell_table: Rotary
    mask: Tensor | None
    """(B, M + N + registers) False for padding; None where nothing is."""


class Observe(nn.Module):
    """Cell tokens and subject state tokens in one sequence; RoPE puts each at its own place.

    All see all, or, with ``config.window``, cells only what is near them, all subjects, and some registers.
    """

    def __init__(self, config: ModelConfig, *, layers: int | None = None, timed: bool = False) -> None:
        super().__init__()
        self.config = config
        self.cell_tokens = CellTokens(config)
        self.subject_tokens = SubjectTokens(config) if config.subject_tokens else PooledTokens(config)
        self.placement = nn.Linear(config.width, config.width) if config.places else None
        self.view = view_layer(config)
        self.registers = nn.Parameter(torch.randn(config.registers, config.width) / 50) if config.window else None
        self.world = nn.Embedding(len(config.worlds) + 1, config.width)
        self.blocks = nn.ModuleList(
            Block(config.width, config.head_width, timed=timed) for _ in range(layers or config.observe_layers)
        )

    def tokens(
        self, context: Tensor, subjects: Subjects, grid: tuple[int, int], world: Tensor, cell_mask: Tensor | None
    ) -> Tokens:
        """Return the frame after ``context`` and its subjects as tokens; arguments as of ``forward``."""
        if not self.config.lasting_identity:
            subjects = replace(subjects, identity=gather_cells(context[:, -1], cell_index(subjects.now, grid)))
        flavour = self.world(world)[:, None]
        u = self.subject_tokens(subjects, grid_size(grid, cell_mask, context.device)) + flavour
        v = self.cell_tokens(context) + flavour
        if isinstance(self.subject_tokens, PooledTokens):
            v = v + self.subject_tokens.pool(subjects)
        if self.view is not None:
            seen = v if cell_mask is None else v * cell_mask[..., None]
            u = u + self.view(surroundings(seen, subjects.now, subjects.facing[:, -1], grid).to(u.dtype))
        if self.placement is not None:
            v = place(v, self.placement(u), subjects.now, subjects.presence, grid)
        cell_table = rotary(grid_positions(*grid, device=context.device), self.config.head_width, self.config.rope_base)
        (b, m), n = v.shape[:2], u.shape[1]
        mask = join_masks(cell_mask, subjects.mask, ((b, m), (b, n)))
        table = concat_rotary(cell_table, stand(subjects.now, self.config))
        tokens = Tokens(torch.cat([v, u.to(v.dtype)], 1), table, cell_table, mask)
        return tokens if self.registers is None else self._registered(tokens, self.registers)

    def _registered(self, tokens: Tokens, registers: Tensor) -> Tokens:
        """Add ``registers`` (R, width) after the subjects; they stand in the corner."""
        (b, t), r = tokens.sequence.shape[:2], len(registers)
        added = registers.expand(b, -1, -1).to(tokens.sequence.dtype)
        corner = rotary(added.new_zeros(1, r, 2), self.config.head_width, self.config.rope_base)
        mask = join_masks(tokens.mask, None, ((b, t), (b, r)))
        sequence = torch.cat([tokens.sequence, added], 1)
        return Tokens(sequence, concat_rotary(tokens.table, corner), tokens.cell_table, mask)

    def _windows(self, layer: int, grid: tuple[int, int]) -> Windows | None:
        size = self.config.window
        return Windows(grid, size, layer % 2 * (size // 2)) if size else None

    def forward(
        self, context: Tensor, subjects: Subjects, grid: tuple[int, int], world: Tensor, cell_mask: Tensor | None = None
    ) -> Observed:
        """Return the features of the frame after ``context``.

        Args:
            context: (B, K, M, 192) pixels in [-1, 1], oldest first; M = h * w.
            subjects: their states, actions and identities.
            grid: (h, w), padding included.
            world: (B,) long, 1 + index into ``config.worlds``; 0 stands for an unknown world.
            cell_mask: (B, M) False where a cell is only padding, to the right of or below the real frame.
        """
        m, n = context.shape[2], subjects.action.shape[1]
        tokens = self.tokens(context, subjects, grid, world, cell_mask)
        x = tokens.sequence
        for layer, block in enumerate(self.blocks):
            x = block(x, tokens.table, key_mask=tokens.mask, windows=self._windows(layer, grid))
        return Observed(
            x[:, :m],
            x[:, m : m + n],
            subjects.now,
            subjects.facing[:, -1],
            subjects.presence,
            grid,
            tokens.cell_table,
            cell_mask,
            subjects.mask,
        )
