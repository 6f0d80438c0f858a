"""The rival of observe, update, render: one flow that denoises the next states and the whole next frame at once.

Kept for comparison (docs/ablations.md): the same tokens and as many blocks, but all of them run at every step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from actionparty.config import ModelConfig
from actionparty.model.layers import TimeEmbedding
from actionparty.model.observe import Observe
from actionparty.model.ops import CELL_CHANNELS
from actionparty.model.tokens import Subjects
from actionparty.model.update import STATE_CHANNELS, point_at


class Joint(nn.Module):
    """Denoise the states of all subjects and all cells of the next frame in one sequence."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        layers = config.observe_layers + config.update_layers + config.render_layers
        self.observe = Observe(config, layers=layers, timed=True)
        self.noisy_state = nn.Linear(STATE_CHANNELS, width)
        self.noisy_cell = nn.Linear(CELL_CHANNELS, width)
        self.time = TimeEmbedding(width)
        self.state = nn.Linear(width, STATE_CHANNELS)
        self.pixels = nn.Linear(width, CELL_CHANNELS)
        self.pointer_query = nn.Linear(width, width, bias=False)
        self.pointer_key = nn.Linear(width, width, bias=False)
        for layer in (self.state, self.pixels):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks."""
        return self.observe.blocks

    def point(self, subjects: Tensor, cells: Tensor) -> Tensor:
        """Return logits (B, N, M) over the cells where a jumping subject appears, from the features."""
        return point_at(self.pointer_query(subjects), self.pointer_key(cells))

    def forward(
        self,
        context: Tensor,
        subjects: Subjects,
        grid: tuple[int, int],
        world: Tensor,
        noisy: tuple[Tensor, Tensor],
        time: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return clean states (B, N, STATE_CHANNELS), clean cells (B, M, 192), subject (B, N, width) and cell features.

        ``noisy`` are the states and the cells at flow ``time`` (B,); the other arguments are those of ``Observe``.
        """
        tokens = self.observe.tokens(context, subjects, grid, world, None)
        added = torch.cat([self.noisy_cell(noisy[1]), self.noisy_state(noisy[0])], 1)
        x, embedded = tokens.sequence + added.to(tokens.sequence.dtype), self.time(time)
        for block in self.blocks:
            x = block(x, tokens.table, embedded, key_mask=tokens.mask)
        m, y = context.shape[2], functional.layer_norm(x, x.shape[-1:])
        return self.state(y[:, m:]).float(), self.pixels(y[:, :m]).float(), x[:, m:], x[:, :m]
