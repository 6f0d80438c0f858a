"""Observations: what agents are told of a world, for all subjects of many worlds at once, as arrays.

``view``
    (8 h, 8 w, 3) uint8: the window of cells around the own subject, which faces up (``crops``).
``frame``
    (H, W, 3) uint8: the whole frame, the same for all.
``state``
    (7,) float32: the own subject's x / w and y / h, one number for each facing (N, E, S, W), and whether it is alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actionparty.environment.crops import crop
from actionparty.errors import InvalidInputError, unknown_name
from actionparty.types import CELL, FACINGS, Floats, SubjectStates, WorldSpec
from actionparty.worlds.views import View, view_of

KINDS = ("view", "frame", "state")
STATE_SIZE = 2 + len(FACINGS) + 1

Arrays = dict[str, NDArray[Any]]
"""Observations by kind, each (B, N, ...)."""


class Observer:
    """Turns frames and states of a world into what its agents are told: any of ``KINDS``.

    Raises:
        InvalidInputError: nothing to observe, or the same twice.
        UnknownNameError: no such kind of observation.
    """

    def __init__(self, spec: WorldSpec, kinds: Sequence[str] = ("view",), view: View | None = None) -> None:
        self.kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
        if not self.kinds or len(set(self.kinds)) != len(self.kinds):
            raise InvalidInputError(f"observe: one or several of {', '.join(KINDS)}, each once; got {self.kinds}.")
        for kind in self.kinds:
            if kind not in KINDS:
                raise unknown_name("kind of observation", kind, KINDS)
        self.spec = spec
        self.view = view or view_of(spec.name)

    def shape(self, kind: str) -> tuple[int, ...]:
        """Return the shape of one subject's observation of a kind."""
        h, w = self.view.size if kind == "view" else self.spec.grid
        return (STATE_SIZE,) if kind == "state" else (h * CELL, w * CELL, 3)

    def __call__(self, frames: NDArray[np.uint8], states: SubjectStates) -> Arrays:
        """Return the observations of ``frames`` (B, H, W, 3) and ``states`` (B, N, ...); don't write to them."""
        return {kind: self._observe(kind, frames, states) for kind in self.kinds}

    def _observe(self, kind: str, frames: NDArray[np.uint8], states: SubjectStates) -> NDArray[Any]:
        if kind == "view":
            return crop(frames, states, self.view)
        if kind == "state":
            return own_states(states, self.spec.grid)
        b, n = states.alive.shape
        return np.broadcast_to(frames[:, None], (b, n, *frames.shape[1:]))


def own_states(states: SubjectStates, grid: tuple[int, int]) -> Floats:
    """(..., N, 7) the states as numbers from 0 to 1."""
    h, w = grid
    place = np.clip(states.position / np.array([w, h]), 0, 1)
    facing = states.facing[..., None] == np.arange(len(FACINGS))
    return np.concatenate([place, facing, states.alive[..., None]], -1).astype(np.float32)
