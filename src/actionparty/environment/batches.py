"""B worlds of one kind, stepped together: generated ones in one network call, real ones one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from actionparty.errors import InvalidInputError
from actionparty.types import Bools, Floats, Ints, Observation, Scene, SubjectStates, World, WorldSpec

if TYPE_CHECKING:
    from actionparty.rollout.rollout import BatchRollout


@dataclass(frozen=True)
class Answers:
    """What B worlds answer to one step, or how they stand."""

    frames: NDArray[np.uint8]
    """(B, H, W, 3)"""
    states: SubjectStates
    """(B, N, ...)"""
    rewards: Floats
    """(B, N) received on arrival, 0 where not sound; of no meaning where an episode has just started"""
    ended: Bools
    """(B,)"""
    sound: Bools
    """(B,) False where a network answered with something that is no number: the episode can't go on"""


class Worlds(Protocol):
    """B worlds of one kind."""

    @property
    def spec(self) -> WorldSpec:
        """What each of them is."""

    @property
    def size(self) -> int:
        """B"""

    def restart(self, rows: Sequence[int], seeds: Sequence[int], scene: Scene | None = None) -> None:
        """Start an episode in some of the worlds, the first time in all; the others don't notice.

        Raises:
            InvalidInputError: the worlds can't start from this ``scene``.
        """

    def step(self, actions: Ints) -> Answers:
        """Advance all worlds by one step with ``actions`` (B, N)."""

    def last(self) -> Answers:
        """Return how they stand."""

    def close(self) -> None:
        """Free what they hold."""


class GeneratedWorlds:
    """B rollouts of one network, each from the scene that its seed picks."""

    def __init__(self, rollout: BatchRollout, scenes: Sequence[Scene], size: int) -> None:
        self._rollout, self._scenes, self._size = rollout, tuple(scenes), size

    @property
    def spec(self) -> WorldSpec:
        """What each of them is."""
        return self._scenes[0].world

    @property
    def size(self) -> int:
        """B"""
        return self._size

    def restart(self, rows: Sequence[int], seeds: Sequence[int], scene: Scene | None = None) -> None:
        """Start rollouts from ``scene``, or from that which the seed picks; chance follows the seed."""
        if scene is not None and scene.world != self.spec:
            raise InvalidInputError(f"a scene of {scene.world} is no start for {self.spec}.")
        scenes = [scene or self._scenes[seed % len(self._scenes)] for seed in seeds]
        if list(rows) == list(range(self.size)):
            self._rollout.reset(scenes, seeds)
        else:
            from actionparty.rollout.restart import restart

            restart(self._rollout, rows, scenes, seeds)

    def step(self, actions: Ints) -> Answers:
        """Generate the next frame of every rollout."""
        made = self._rollout.step(actions)
        sound = made.finite & np.isfinite(made.rewards).all(1)
        rewards = np.where(sound[:, None], made.rewards, np.zeros_like(made.rewards))
        return Answers(made.frames, made.states, rewards, made.ended, sound)

    def last(self) -> Answers:
        """Return how they stand."""
        made = self._rollout.last()
        return Answers(made.frames, made.states, made.rewards, made.ended, made.finite)

    def close(self) -> None:
        """Nothing to free."""


class RealWorlds:
    """B real worlds in this process, one after the other."""

    def __init__(self, worlds: Sequence[World]) -> None:
        self._worlds = tuple(worlds)
        self._seen: list[Observation] = []

    @property
    def spec(self) -> WorldSpec:
        """What each of them is."""
        return self._worlds[0].spec

    @property
    def size(self) -> int:
        """B"""
        return len(self._worlds)

    def restart(self, rows: Sequence[int], seeds: Sequence[int], scene: Scene | None = None) -> None:
        """Reset some of the worlds; a real one refuses a ``scene``."""
        made = {row: self._worlds[row].reset(seed=seed, scene=scene) for row, seed in zip(rows, seeds, strict=True)}
        self._seen = [made[row] if row in made else self._seen[row] for row in range(self.size)]

    def step(self, actions: Ints) -> Answers:
        """Step every world."""
        self._seen = [world.step(row) for world, row in zip(self._worlds, actions, strict=True)]
        return self.last()

    def last(self) -> Answers:
        """Return how they stand."""
        return Answers(
            np.stack([seen.frame for seen in self._seen]),
            SubjectStates.stack([seen.states for seen in self._seen]),
            np.stack([seen.rewards for seen in self._seen]),
            np.array([seen.ended for seen in self._seen]),
            np.ones(self.size, np.bool_),
        )

    def close(self) -> None:
        """Free the simulators."""
        for world in self._worlds:
            world.close()
