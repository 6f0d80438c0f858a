"""Palette: which of a world's known tiles a rendered cell shows, if any of them.

In all 49 substrates at least 99% of the cells that change show a tile that was seen before (``python
benchmarks/known_tiles.py``), so the render blocks ask for a tile, and it is copied pixel by pixel; what is new stays as
drawn. Of a thousand tiles few are to be asked for: 99.4% of those cells show a tile that was seen to follow the
one they showed before, and a tile is followed by 8 others. Departs from method.md section 3, where every cell is drawn,
and drawing leaves a blur: docs/method.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from actionparty.data.clips import to_pixels
from actionparty.model.ops import CELL_CHANNELS, cell_index

DRAWN = 0
"""The choice that means none of the known tiles."""
MOST_TILES = 4096
"""Where more tiles were seen hardly any comes twice, as in worlds that are not drawn on a grid: all is drawn there."""
NOBODY, ANYBODY = -1, 0
"""Looks: a tile shows no subject, or one that can't be told from others."""


@dataclass(frozen=True)
class WorldTiles:
    """What the recordings show of the tiles of one world; it comes with the weights."""

    tiles: Tensor
    """(P, 192) in [-1, 1]"""
    changes: Tensor
    """(Q, 2) long: tile ``changes[q, 0]`` was seen to become ``changes[q, 1]``"""
    looks: Tensor
    """(P,) long: whom a tile shows: ``NOBODY``, ``ANYBODY``, or a look that only some have, from 1 on; (0,): unknown"""

    @staticmethod
    def unchanging(tiles: Tensor) -> WorldTiles:
        """Return ``tiles`` (P, 192) of which no change was seen, and that tell nothing of subjects."""
        changes = torch.zeros((0, 2), dtype=torch.long, device=tiles.device)
        return WorldTiles(tiles, changes, torch.zeros(0, dtype=torch.long, device=tiles.device))

    def to(self, device: torch.device) -> WorldTiles:
        """Return the same on ``device``."""
        return WorldTiles(self.tiles.to(device), self.changes.to(device), self.looks.to(device))


@dataclass(frozen=True)
class KnownTiles:
    """The tiles of one world that may be copied."""

    tiles: Tensor
    """(P, 192) in [-1, 1]"""
    keys: Tensor
    """(P, width) what the cells' queries are compared with"""
    follows: Tensor | None
    """(P + 1, 1 + P) bool: whether a cell that showed tile i (P: none) may be drawn, or show tile j - 1; None: any"""
    looks: Tensor
    """(P,) or (0,) long, see ``WorldTiles``"""

    @property
    def unknown(self) -> int:
        """The number that stands for a tile that is none of the known ones."""
        return len(self.tiles)

    @cached_property
    def _sorted_codes(self) -> tuple[Tensor, Tensor]:
        codes, order = _codes(self.tiles).sort()
        return codes, order

    def find(self, cells: Tensor) -> Tensor:
        """Return which tile each of ``cells`` (..., 192) shows to the last bit, (...) long; ``unknown`` for none."""
        (codes, order), wanted = self._sorted_codes, _codes(cells)
        place = torch.searchsorted(codes, wanted).clamp(max=len(codes) - 1)
        return torch.where(codes[place] == wanted, order[place], self.unknown)

    def look(self, pictures: Tensor) -> Tensor:
        """Return (...) long, the look of subjects with ``pictures`` (..., 192); ``ANYBODY`` where that is not known."""
        tile = self.find(pictures)
        if not len(self.looks):
            return torch.full_like(tile, ANYBODY)
        return torch.where(
            tile < self.unknown, self.looks[tile.clamp(max=self.unknown - 1)].clamp(min=ANYBODY), ANYBODY
        )

    def wrong(self, shown: Tensor, there: Tensor) -> Tensor:
        """Return (...) bool: cells whose tile ``shown`` (...) doesn't show the look that is ``there`` (...).

        Of tiles that are none of the known ones nothing is said.
        """
        if not len(self.looks):
            return torch.zeros_like(shown, dtype=torch.bool)
        return (shown < self.unknown) & ~fits(self.looks[shown.clamp(max=self.unknown - 1)], there)


def fits(look: Tensor, there: Tensor) -> Tensor:
    """Return (...) bool, whether a tile with ``look`` (...) can be shown where the look ``there`` (...) is."""
    some, other = look != NOBODY, there != NOBODY
    return (some == other) & ((look == there) | (look == ANYBODY) | (there == ANYBODY))


def looks_at(cells: int, look: Tensor, position: Tensor, alive: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return (B, ``cells``) long, the ``look`` (B, N) of who is ``alive`` (B, N) in each cell; ``NOBODY`` elsewhere."""
    out = torch.full((len(look), cells + 1), NOBODY, device=look.device)
    place = torch.where(alive, cell_index(position, grid), cells)
    return out.scatter(1, place, look)[:, :cells]


def _codes(cells: Tensor) -> Tensor:
    """Return (...) long hashes of the pixels of ``cells`` (..., 192), dot products with large odd numbers"""
    factors = torch.arange(1, CELL_CHANNELS + 1, device=cells.device) * 0x9E3779B97F4A7C1 | 1
    return (to_pixels(cells).long() * (factors * factors)).sum(-1)


def follows_of(changes: Tensor, count: int) -> Tensor:
    """Return ``KnownTiles.follows`` of ``count`` tiles; anything follows tiles of which ``changes`` say nothing."""
    out = torch.zeros((count + 1, count + 1), dtype=torch.bool, device=changes.device)
    out[changes[:, 0], changes[:, 1] + 1] = True
    free = torch.ones(count + 1, dtype=torch.bool, device=changes.device)
    free[changes[:, 0]] = False
    out[free] = True
    out[:, DRAWN] = True
    return out


_UNSEEN = 8.0
"""What a tile loses, in nats, that was never seen to follow the one before, or doesn't show who is there."""
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

    def know(self, seen: WorldTiles) -> KnownTiles:
        """Return the tiles of ``seen`` with their keys."""
        follows = follows_of(seen.changes, len(seen.tiles)) if len(seen.changes) else None
        return KnownTiles(seen.tiles, self.tile(seen.tiles), follows, seen.looks)

    def forward(
        self,
        features: Tensor,
        cells: Tensor,
        known: KnownTiles,
        was: Tensor | None = None,
        there: Tensor | None = None,
    ) -> Tensor:
        """Return logits (B, C, 1 + P) of what each cell shows: ``DRAWN``, or known tile j at j + 1.

        ``features`` (B, C, width) are the render blocks' of C ``cells`` (B, C, 192), as drawn; ``was`` (B, C) says
        which of the known tiles they showed before, as ``KnownTiles.find`` does, and ``there`` (B, C) which
        look is there after the step, as ``looks_at`` does.
        """
        meant = self.query(features) @ known.keys.to(features.dtype).T * known.keys.shape[-1] ** -0.5
        cells = cells.detach()
        error = (cells**2).mean(-1, keepdim=True) + (known.tiles**2).mean(-1)
        error = error - 2 * (cells @ known.tiles.T).float() / CELL_CHANNELS
        alike = -self.sharpness.exp() * error
        logits = torch.cat([self.drawn(features).float(), meant.float() + alike], -1)
        if was is not None and known.follows is not None:
            logits = logits - _UNSEEN * (~known.follows[was]).float()
        if there is not None and len(known.looks):
            logits = logits - _UNSEEN * functional.pad((~fits(known.looks, there[..., None])).float(), (1, 0))
        return logits
