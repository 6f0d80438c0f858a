"""Corrupted contexts: what a rollout's own mistakes look like, so that the subject tokens become the authority.

Subjects are erased from, doubled in or displaced in the context frames, and cells are overwritten or blended with other
tiles; the target stays the true next frame (method.md section 3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from actionparty.data.clips import Clips, WorldClips
from actionparty.model.ops import cell_index

_ERASE, _DOUBLE, _DISPLACE = 0.25, 0.15, 0.1
_OVERWRITE, _BLEND = 0.01, 0.015


def corrupt_tiles(world: WorldClips, clips: Clips, share: float, generator: torch.Generator) -> Tensor:
    """Return the context tiles (B, K, M) of ``clips``, corrupted in a ``share`` of them."""
    b, k, m = clips.context.shape
    n = clips.action.shape[1]
    device = clips.context.device

    def chance(shape: tuple[int, ...], odds: float) -> Tensor:
        return torch.rand(shape, generator=generator, device=device) < odds

    on = chance((b, 1), share)
    alive = clips.alive[:, -1] & on
    erased, doubled = alive & chance((b, n), _ERASE), alive & chance((b, n), _DOUBLE)
    displaced = alive & ~erased & chance((b, n), _DISPLACE)
    out = clips.context.clone()
    cells = cell_index(clips.position[:, -k:], clips.world.grid)
    now = cells[:, -1]
    own = out[:, -1].gather(1, now)
    for frame in range(k):
        _put(out[:, frame], cells[:, frame], world.common[cells[:, frame]], erased)
    _put(out[:, -1], now, world.common[now], displaced)
    w = clips.world.grid[1]
    offsets = torch.tensor([1, -1, w, -w], device=device)
    step = offsets[torch.randint(4, (b, n), generator=generator, device=device)]
    _put(out[:, -1], (now + step).clamp(0, m - 1), own, displaced)
    anywhere = world.visited[torch.randint(len(world.visited), (b, n), generator=generator, device=device)]
    free = (anywhere[:, :, None] != now[:, None]).all(-1)
    _put(out[:, -1], anywhere, own, doubled & free)
    elsewhere = torch.randint(m, (b, m), generator=generator, device=device)
    overwritten = chance((b, m), _OVERWRITE) & on
    out[:, -1] = torch.where(overwritten, clips.context[:, -1].gather(1, elsewhere), out[:, -1])
    return out


def _put(tiles: Tensor, cell: Tensor, tile: Tensor, where: Tensor) -> None:
    """Write ``tile`` (B, N) at ``cell`` (B, N) of ``tiles`` (B, M), in place, where asked."""
    rows, subjects = where.nonzero(as_tuple=True)
    tiles[rows, cell[rows, subjects]] = tile[rows, subjects]


def blend_cells(pixels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Mix a few cells of ``pixels`` (B, K, M, 192) with other cells, in place; return which (B, M).

    A blend of two tiles is what an unsure renderer draws; the target of such a cell is the clean one.
    """
    b, _, m, _ = pixels.shape
    device = pixels.device
    on = torch.rand((b, 1), generator=generator, device=device) < share
    chosen = (torch.rand((b, m), generator=generator, device=device) < _BLEND) & on
    rows, cells = chosen.nonzero(as_tuple=True)
    other = torch.randint(m, (len(rows),), generator=generator, device=device)
    amount = 0.05 + 0.65 * torch.rand((len(rows), 1, 1), generator=generator, device=device) ** 2
    pixels[rows, :, cells] = (1 - amount) * pixels[rows, :, cells] + amount * pixels[rows, :, other]
    return chosen
