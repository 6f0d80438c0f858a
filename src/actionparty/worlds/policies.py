"""Recording policies: who acts while a world is recorded. They see observations only; only ``skilled`` knows games.

A policy is cheap (it runs in the recording loop) and everything it does follows from the seed given to ``reset``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from actionparty.errors import InvalidInputError, unknown_name
from actionparty.types import Ints, Observation, Policy, WorldSpec
from actionparty.worlds.curious import CuriousPolicy
from actionparty.worlds.seeking import SeekingPolicy, action_shares
from actionparty.worlds.skilled import SkilledPolicy


class StickyRandomPolicy:
    """Draw actions at random, mostly moves, and repeat a subject's last action with probability ``stickiness``."""

    def __init__(self, stickiness: float = 0.35) -> None:
        if not 0 <= stickiness <= 1:
            raise InvalidInputError(f"stickiness is a probability, but got {stickiness}.")
        self._stickiness = stickiness

    def reset(self, spec: WorldSpec, seed: int) -> None:
        """Start an episode."""
        self._rng = np.random.default_rng([1, seed])
        self._edges = np.cumsum(action_shares(spec.actions))
        self._last = self._draw(spec.subjects)

    def act(self, observation: Observation) -> Ints:
        """Return one action index per subject, (N,)."""
        fresh = self._draw(len(self._last))
        self._last = np.where(self._rng.random(len(fresh)) < self._stickiness, self._last, fresh)
        return self._last.copy()

    def _draw(self, n: int) -> Ints:
        drawn: Ints = np.searchsorted(self._edges, self._rng.random(n) * self._edges[-1], side="right")
        return drawn


class MixedPolicy:
    """Let each subject follow the random or the seeking policy for an episode, chosen by the seed."""

    def __init__(self) -> None:
        self._policies = (StickyRandomPolicy(), SeekingPolicy())

    def reset(self, spec: WorldSpec, seed: int) -> None:
        """Start an episode."""
        self.seeking = np.random.default_rng([3, seed]).random(spec.subjects) < 0.5
        for policy in self._policies:
            policy.reset(spec, seed)

    def act(self, observation: Observation) -> Ints:
        """Return one action index per subject, (N,)."""
        at_random, seeking = (policy.act(observation) for policy in self._policies)
        return np.where(self.seeking, seeking, at_random)


POLICIES: dict[str, Callable[[], Policy]] = {
    "random": StickyRandomPolicy,
    "seek": SeekingPolicy,
    "curious": CuriousPolicy,
    "mixed": MixedPolicy,
    "skilled": SkilledPolicy,
}


def policy(name: str) -> Policy:
    """Return a new policy by its name in ``POLICIES``; raise ``UnknownNameError`` for any other."""
    if name not in POLICIES:
        raise unknown_name("policy", name, POLICIES)
    return POLICIES[name]()
