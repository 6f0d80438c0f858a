"""Palette: which of a world's known tiles a rendered cell shows, if any of them.

In all 49 substrates at least 99% of the cells that change show a tile that was seen before (``python
benchmarks/known_tiles.py``), so the render blocks ask for a tile, and it is copied pixel by pixel; what is new stays as
drawn. Departs from method.md section 3, where every cell is drawn, and drawing leaves a blur: docs/method.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from actionparty.model.ops import CELL_CHANNELS

DRAWN = 0
"""The choice that means none of the known tiles."""


@dataclass(frozen=True)
class KnownTiles:
    """The tiles of one world that may be copied."""

    tiles: Tensor
    """(P, 192) in [-1, 1]"""
    keys: Tensor
    """(P, width) what the cells' queries are compared with"""


_SHARPNESS = 50.0
"""Of the likeness to begin with: a mean squared error of 0.02 costs one nat."""


class Palette(nn.Module):
    """Compares a rendered cell with all known tiles: what was drawn by pixels, what is meant by learned keys.

    In the beginning the nearest tile is chosen where it is near, so a network that can draw knows its tiles at once.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tile = nn.Sequential(
            nn.Linear(CELL_CHANNELS, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
            nn.LayerNorm(width, elementwise_affine=False),
        )
        self.query = nn.Linear(width, width)
        self.drawn = nn.Linear(width, 1)
        self.sharpness = nn.Parameter(torch.tensor(_SHARPNESS).log())
        for weight in (self.query.weight, self.query.bias, self.drawn.weight):
            nn.init.zeros_(weight)
        nn.init.constant_(self.drawn.bias, -1.0)

    def know(self, tiles: Tensor) -> KnownTiles:
        """Return the ``tiles`` (P, 192) with their keys."""
        return KnownTiles(tiles, self.tile(tiles))

    def forward(self, features: Tensor, cells: Tensor, known: KnownTiles) -> Tensor:
        """Return logits (B, C, 1 + P) of what each cell shows: ``DRAWN``, or known tile j at j + 1.

        ``features`` (B, C, width) are the render blocks' of C ``cells`` (B, C, 192), as drawn.
        """
        meant = self.query(features) @ known.keys.to(features.dtype).T * known.keys.shape[-1] ** -0.5
        cells = cells.detach()
        error = (cells**2).mean(-1, keepdim=True) + (known.tiles**2).mean(-1)
        error = error - 2 * (cells @ known.tiles.T).float() / CELL_CHANNELS
        alike = -self.sharpness.exp() * error
        return torch.cat([self.drawn(features).float(), meant.float() + alike], -1)
