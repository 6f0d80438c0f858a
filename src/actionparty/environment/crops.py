"""Egocentric crops: what each subject sees, cut out of the whole frame and turned so that the subject faces up.

Cells are gathered by index for all subjects of all worlds at once. This module knows arrays only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actionparty.types import CELL, CELL_CHANNELS, FACINGS, Ints, SubjectStates
from actionparty.worlds.views import View

_CELL_ITEM = np.dtype(f"V{CELL_CHANNELS}")
"""A whole cell as one item, so that gathering copies blocks of memory."""
_PIXEL_ITEM = np.dtype("V3")
"""A pixel as one item, for the same reason."""


def crop(frames: NDArray[np.uint8], states: SubjectStates, view: View) -> NDArray[np.uint8]:
    """Return what the subjects see, (B, N, 8 h, 8 w, 3) with h x w = ``view.size``, of ``frames`` (B, H, W, 3).

    Past the edges of the map it is black, or goes on with the other side where the view wraps. Who is not alive sees
    nothing: all black. The picture is turned as a whole, its tiles with it.
    """
    cells = _cells(frames)
    seen = cells.reshape(-1)[_indices(frames.shape, states, view)]
    return _assemble(seen.view(_PIXEL_ITEM).reshape(*seen.shape, CELL, CELL), states.facing)


def _cells(frames: NDArray[np.uint8]) -> NDArray[np.void]:
    """(B, M + 1) cells, row by row; the last one is black."""
    b, h, w = len(frames), frames.shape[1] // CELL, frames.shape[2] // CELL
    cells = np.zeros((b, h * w + 1, CELL_CHANNELS), np.uint8)
    tiles = cells[:, :-1].reshape(b, h, w, CELL, CELL, 3)
    tiles[:] = frames.reshape(b, h, CELL, w, CELL, 3).swapaxes(2, 3)
    return cells.view(_CELL_ITEM)[..., 0]


def _indices(shape: tuple[int, ...], states: SubjectStates, view: View) -> Ints:
    """(B, N, h, w) which of all cells (B x (M + 1)) is seen where."""
    b, h, w = shape[0], shape[1] // CELL, shape[2] // CELL
    own = np.clip(states.cells, 0, (w - 1, h - 1))[:, :, None, None]
    x, y = np.moveaxis(own + _offsets(view)[states.facing], -1, 0)
    if view.wraps:
        x, y = x % w, y % h
    visible = (x >= 0) & (x < w) & (y >= 0) & (y < h) & states.alive[..., None, None]
    return np.where(visible, y * w + x, h * w) + np.arange(b)[:, None, None, None] * (h * w + 1)


def _offsets(view: View) -> Ints:
    """(4, h, w, 2) the (dx, dy) from a subject to each cell that it sees, by facing."""
    dy, dx = np.mgrid[-view.ahead : view.behind + 1, -view.left : view.right + 1]
    turned = []
    for _ in FACINGS:
        turned.append(np.stack([dx, dy], -1))
        dx, dy = -dy, dx
    return np.stack(turned)


def _assemble(tiles: NDArray[np.void], facing: Ints) -> NDArray[np.uint8]:
    """Turn the ``tiles`` (B, N, h, w, 8, 8) of each subject and put them together to (B, N, 8 h, 8 w, 3)."""
    b, n, h, w = tiles.shape[:4]
    out = np.empty((b, n, h, CELL, w, CELL), _PIXEL_ITEM)
    by_cell = out.swapaxes(3, 4)
    for quarter_turns in range(len(FACINGS)):
        chosen = facing == quarter_turns
        by_cell[chosen] = np.rot90(tiles[chosen], quarter_turns, (3, 4))
    return out.view(np.uint8).reshape(b, n, h * CELL, w * CELL, 3)
