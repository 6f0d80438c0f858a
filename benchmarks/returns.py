"""Players, and what they are paid: whole episodes in generated and in real worlds behind the same interface."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import actionparty
from actionparty.data.dataset import load_episodes
from actionparty.data.recording import FIRST_EVALUATION_SEED
from actionparty.environment.observing import Arrays
from actionparty.environment.vector import VectorRollout
from actionparty.types import Ints, Observation, Policy, Scene
from actionparty.worlds.policies import policy

CONTEXT = 2
"""Frames that the shipped weights see."""


class Player(Protocol):
    """Chooses the actions of all subjects of all worlds of a vector."""

    def begin(self, worlds: VectorRollout, seed: int) -> None:
        """Start an episode in every world."""

    def act(self, worlds: VectorRollout, observations: Arrays) -> Ints:
        """Return the actions (B, N); ``observations`` is what the subjects see, by kind (B, N, ...)."""


@dataclass
class Scripted:
    """A recording policy of the catalogue, one of its own for each world."""

    name: str
    _policies: list[Policy] = field(default_factory=list, init=False)

    def begin(self, worlds: VectorRollout, seed: int) -> None:
        """Start an episode in every world."""
        self._policies = [policy(self.name) for _ in range(worlds.size)]
        for row, one in enumerate(self._policies):
            one.reset(worlds.spec, seed + row)

    def act(self, worlds: VectorRollout, observations: Arrays) -> Ints:
        """Return the actions (B, N)."""
        nothing = np.zeros(worlds.spec.subjects, np.float32)
        return np.stack(
            [
                one.act(Observation(worlds.frames[row], worlds.states[row], nothing, False))
                for row, one in enumerate(self._policies)
            ]
        )


@dataclass
class Uniform:
    """Every action as likely as any other."""

    def begin(self, worlds: VectorRollout, seed: int) -> None:
        """Start an episode in every world."""
        self._rng = np.random.default_rng(seed)

    def act(self, worlds: VectorRollout, observations: Arrays) -> Ints:
        """Return the actions (B, N)."""
        return self._rng.integers(len(worlds.spec.actions), size=(worlds.size, worlds.spec.subjects))


@dataclass
class Learned:
    """A policy of Stable-Baselines3 that acts for each subject alone; with odds ``random`` an action is any."""

    model: Any
    random: float = 0.0

    def begin(self, worlds: VectorRollout, seed: int) -> None:
        """Start an episode in every world."""
        self._rng = np.random.default_rng(seed)

    def act(self, worlds: VectorRollout, observations: Arrays) -> Ints:
        """Return the actions (B, N)."""
        shape = (worlds.size, worlds.spec.subjects)
        flat = {kind: values.reshape(-1, *values.shape[2:]) for kind, values in observations.items()}
        chosen = self.model.predict(flat, deterministic=False)[0].reshape(shape)
        other = self._rng.integers(len(worlds.spec.actions), size=shape)
        return np.where(self._rng.random(shape) < self.random, other, chosen).astype(np.int64)


def episode_returns(worlds: VectorRollout, player: Player, seed: int) -> NDArray[np.float64]:
    """Return (B, N) what each subject is paid in one whole episode of every world."""
    observations = worlds.reset(seed)
    player.begin(worlds, seed)
    total = np.zeros((worlds.size, worlds.spec.subjects))
    for _ in range(worlds.max_steps):
        step = worlds.step(player.act(worlds, observations))
        observations, total = step.observations, total + step.rewards
        if step.ended.any():
            raise SystemExit(f"{worlds.spec.name}: an episode ended before step {worlds.max_steps}; lower it.")
    return total


def starts(folder: Path, world: str, episodes: int, *, held_out: bool) -> list[Scene]:
    """Return the first rows of at most so many recorded episodes: where generated episodes start, as real ones do.

    Raises:
        DatasetError, UnknownNameError: no such dataset, or no such world in it.
        SystemExit: no episode of the kind.
    """
    found = [
        episode.scene(0, CONTEXT)
        for episode in load_episodes(folder, [world])
        if (episode.seed >= FIRST_EVALUATION_SEED) == held_out
    ]
    if not found:
        raise SystemExit(f"{folder}: no {'held-out' if held_out else 'training'} episode of {world}.")
    return found[:episodes]


def returns(
    world: str,
    backend: str,
    player: Player,
    episodes: int,
    max_steps: int,
    seed: int,
    scenes: list[Scene] | None = None,
) -> NDArray[np.float64]:
    """Return (episodes,) the mean return of a subject in each of as many episodes, played side by side."""
    worlds = actionparty.vector_env(world, episodes, scenes, backend=backend, max_steps=max_steps, auto_reset=False)
    try:
        return episode_returns(worlds, player, seed).mean(1)
    finally:
        worlds.close()


def interval(values: NDArray[np.float64], draws: int = 2000) -> list[float]:
    """Return the 95% bootstrap interval of the mean of ``values`` (n,)."""
    drawn = values[np.random.default_rng(0).integers(len(values), size=(draws, len(values)))].mean(1)
    return [float(edge) for edge in np.quantile(drawn, (0.025, 0.975))]
