"""Choose the frames worth keeping of rollouts while they run: films at fixed steps, and the first failures.

Memory is bounded: the last few frames of the batch, and what was chosen. Knows frames and steps, no model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from actionparty.evaluation.records import AROUND, FAILURES, FILM_STEPS, FILMS, Reason, Shot
from actionparty.types import Bools, Frame

Truth = Callable[[int, int], Frame | None]
"""Gives the simulator's frame of a rollout at a step, None past the recording."""


class ShotKeeper:
    """Sees every frame of a batch of rollouts once; ``first`` is how many rollouts of the world came before."""

    def __init__(self, first: int, truth: Truth) -> None:
        self._truth = truth
        self._films = max(0, FILMS - first)
        self._recent: deque[tuple[int, NDArray[np.uint8]]] = deque(maxlen=AROUND + 1)
        self._failed: dict[str, set[int]] = {}
        self._until: dict[int, int] = {}
        self._kept: dict[tuple[int, int, Reason], Shot] = {}

    def see(self, step: int, frames: NDArray[np.uint8], **failures: Bools) -> None:
        """Look at the frames (B, H, W, 3) of ``step``, and at where each kind of failure (B,) happened in it."""
        self._recent.append((step, frames))
        if step in FILM_STEPS:
            for rollout in range(min(self._films, len(frames))):
                self._keep(rollout, step, frames, "film")
        for kind, failed in failures.items():
            for rollout in self._fresh(kind, failed):
                self._until[rollout] = step + AROUND
                for past, pictures in self._recent:
                    self._keep(rollout, past, pictures, "failure")
        for rollout, until in self._until.items():
            if step <= until:
                self._keep(rollout, step, frames, "failure")

    def _fresh(self, kind: str, failed: Bools) -> list[int]:
        """Return the rollouts that fail in this way for the first time, as long as few did before."""
        known = self._failed.setdefault(kind, set())
        fresh = [int(r) for r in np.flatnonzero(failed) if int(r) not in known]
        chosen = fresh[: max(0, FAILURES - len(known))]
        known.update(fresh)
        return chosen

    def _keep(self, rollout: int, step: int, frames: NDArray[np.uint8], reason: Reason) -> None:
        key = (rollout, step, reason)
        if key not in self._kept:
            self._kept[key] = Shot(rollout, step, frames[rollout].copy(), self._truth(rollout, step), reason)

    @property
    def shots(self) -> tuple[Shot, ...]:
        """What was kept, by rollout and step."""
        return tuple(self._kept[key] for key in sorted(self._kept))
