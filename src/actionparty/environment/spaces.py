"""The Gymnasium spaces of observations, actions and states. The only module here that is about Gymnasium alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from actionparty.environment.observing import Observer
from actionparty.types import CELL, FACINGS, WorldSpec

if TYPE_CHECKING:
    from gymnasium import spaces


def observation_space(observer: Observer) -> spaces.Dict:
    """Return a new space of what one subject observes."""
    from gymnasium import spaces

    boxes: dict[str, spaces.Space[Any]] = {}
    for kind in observer.kinds:
        top, dtype = (1, np.float32) if kind == "state" else (255, np.uint8)
        boxes[kind] = spaces.Box(0, top, observer.shape(kind), dtype)
    return spaces.Dict(boxes)


def action_space(spec: WorldSpec) -> spaces.Discrete:
    """Return a new space of one subject's actions, indices into ``spec.actions``."""
    from gymnasium import spaces

    return spaces.Discrete(len(spec.actions))


def state_space(spec: WorldSpec) -> spaces.Dict:
    """Return a new space of a whole world: its frame, and the states of all subjects."""
    from gymnasium import spaces

    h, w = spec.grid
    n = spec.subjects
    return spaces.Dict(
        {
            "frame": spaces.Box(0, 255, (h * CELL, w * CELL, 3), np.uint8),
            "position": spaces.Box(-np.inf, np.inf, (n, 2), np.float32),
            "facing": spaces.MultiDiscrete([len(FACINGS)] * n),
            "alive": spaces.MultiBinary(n),
        }
    )
