"""Local attention, for large maps: cells look at the cells of their window, and at all tokens that stand for no cell.

Windows are shifted by half in every second block, so that what is known in one reaches the next (Swin, arXiv
2103.14030); subjects and registers see everything and carry it further. The cost is linear in the number of cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from actionparty.model.ops import attend


@dataclass(frozen=True)
class Windows:
    """How a grid (h, w) is cut: squares of ``size`` cells a side, the first one ``shift`` cells before the corner."""

    grid: tuple[int, int]
    size: int
    shift: int

    @property
    def count(self) -> tuple[int, int]:
        """Windows from top to bottom, and from left to right."""
        h, w = (-(-(side + self.shift) // self.size) for side in self.grid)
        return h, w

    def cut(self, cells: Tensor) -> Tensor:
        """(B, h * w, d) -> (B * windows, size * size, d), zeros beyond the edges of the grid."""
        (h, w), (rows, columns) = self.grid, self.count
        below, right = rows * self.size - self.shift - h, columns * self.size - self.shift - w
        padded = functional.pad(cells.reshape(len(cells), h, w, -1), (0, 0, self.shift, right, self.shift, below))
        return rearrange(padded, "b (y i) (x j) d -> (b y x) (i j) d", i=self.size, j=self.size)

    def join(self, windows: Tensor) -> Tensor:
        """Reverse ``cut``."""
        (h, w), (rows, columns) = self.grid, self.count
        whole = rearrange(windows, "(b y x) (i j) d -> b (y i) (x j) d", y=rows, x=columns, i=self.size)
        return whole[:, self.shift : self.shift + h, self.shift : self.shift + w].flatten(1, 2)


def attend_locally(q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None, windows: Windows) -> Tensor:
    """Return attention like ``attend``: the first tokens are cells, which see their window and the tokens after them.

    Arguments and result as of ``attend``, keys as many as queries; ``key_mask`` (B, T). Of the tokens that are no
    cells at least one must be seen.
    """
    m = windows.grid[0] * windows.grid[1]
    others = attend(q[:, :, m:], k, v, key_mask)
    (b, heads), each = q.shape[:2], windows.count[0] * windows.count[1]
    seen = torch.ones(b, k.shape[2], dtype=torch.bool, device=q.device) if key_mask is None else key_mask
    near = windows.cut(seen[:, :m, None].to(q.dtype))[..., 0] > 0
    mask = torch.cat([near, seen[:, m:].repeat_interleave(each, 0)], 1)
    queries, keys, values = (
        rearrange(windows.cut(rearrange(x[:, :, :m], "b h t c -> b t (h c)")), "b t (h c) -> b h t c", h=heads)
        for x in (q, k, v)
    )
    keys, values = (
        torch.cat([local, x[:, :, m:].repeat_interleave(each, 0)], 2) for local, x in ((keys, k), (values, v))
    )
    cells = windows.join(attend(queries, keys, values, mask))
    return torch.cat([cells, others], 1)
