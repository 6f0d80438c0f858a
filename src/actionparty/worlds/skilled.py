"""A policy that knows how to earn rewards where nobody does by chance: it cooks, and it cleans the river."""

from __future__ import annotations

from actionparty.types import Ints, Observation, Policy, WorldSpec
from actionparty.worlds.cleaning import CleaningPolicy
from actionparty.worlds.cooking import CookingPolicy
from actionparty.worlds.curious import CuriousPolicy


class SkilledPolicy:
    """Play ``clean_up`` and ``collaborative_cooking__*`` by a script for each, other worlds as ``curious`` does."""

    def reset(self, spec: WorldSpec, seed: int) -> None:
        """Start an episode."""
        self._player = _player(spec)
        self._player.reset(spec, seed)

    def act(self, observation: Observation) -> Ints:
        """Return one action index per subject, (N,)."""
        return self._player.act(observation)


def _player(spec: WorldSpec) -> Policy:
    if spec.name.startswith("collaborative_cooking__"):
        return CookingPolicy()
    return CleaningPolicy() if spec.name == "clean_up" else CuriousPolicy()
