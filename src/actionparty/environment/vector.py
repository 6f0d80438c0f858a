"""Many worlds at once as arrays: reset and step with one row per world, new episodes by themselves.

Row b of a vector is a function of its seed and its actions: it is what the row would be alone, whatever the others do
and whenever they start anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actionparty.config import MAX_STEPS
from actionparty.environment.batches import Answers, Worlds
from actionparty.environment.inputs import row_seeds, whole
from actionparty.environment.observing import Arrays, Observer
from actionparty.errors import InvalidInputError
from actionparty.types import Bools, Floats, Ints, Scene, SubjectStates, WorldSpec
from actionparty.worlds.views import View

_SEEDS = 2**31


@dataclass(frozen=True)
class Final:
    """How episodes looked when they were over, where new ones have started already."""

    rows: Ints
    """(D,) the worlds, in order"""
    observations: Arrays
    """By kind, (D, N, ...)"""


class VectorStep(NamedTuple):
    """What B worlds answer to one step."""

    observations: Arrays
    """By kind, (B, N, ...); of the first frame of the next episode where one is over and ``auto_reset`` is on"""
    rewards: Floats
    """(B, N)"""
    ended: Bools
    """(B,) the world ended"""
    truncated: Bools
    """(B,) the world did not end, but the episode was cut: it is long enough, or the network failed"""
    final: Final | None
    """The last observations of the episodes that are over, where new ones have started"""


class VectorRollout:
    """B worlds of one kind as arrays; made by ``actionparty.vector_env``.

    Raises:
        InvalidInputError: ``max_steps`` is no whole number of at least 1, or nothing to observe.
        UnknownNameError: no such kind of observation.
    """

    def __init__(
        self,
        worlds: Worlds,
        observe: Sequence[str] = ("view",),
        view: View | None = None,
        max_steps: int = MAX_STEPS,
        auto_reset: bool = True,
    ) -> None:
        """Tell the agents what ``observe`` names; end each episode after ``max_steps`` at the latest."""
        self.max_steps, self.auto_reset = whole("max_steps", max_steps, 1), auto_reset
        self.observer = Observer(worlds.spec, observe, view)
        self._worlds = worlds
        self._seeds: list[EpisodeSeeds] = []
        self._steps = np.zeros(worlds.size, np.int64)
        self._over = np.zeros(worlds.size, np.bool_)
        self._now: Answers | None = None

    @property
    def spec(self) -> WorldSpec:
        """What each of the worlds is; ``spec.actions`` names the actions."""
        return self._worlds.spec

    @property
    def size(self) -> int:
        """B, the number of worlds."""
        return self._worlds.size

    @property
    def frames(self) -> NDArray[np.uint8]:
        """(B, H, W, 3) the current frames; raise ``InvalidInputError`` before the first ``reset``."""
        return self._started().frames

    @property
    def states(self) -> SubjectStates:
        """(B, N, ...) the current states; raise ``InvalidInputError`` before the first ``reset``."""
        return self._started().states

    def reset(self, seed: int | Sequence[int] | None = None, scene: Scene | None = None) -> Arrays:
        """Start an episode in every world and return the observations, by kind (B, N, ...).

        World b is seeded with ``seed`` + b, or with the b-th of B given seeds. Its later episodes follow from that
        too; without a ``seed`` they go on. A ``scene`` is where this one episode starts.

        Raises:
            InvalidInputError: a seed that is no whole number from 0 to 2**63 - 1, not one for each world, or a scene
                that the worlds can't start from.
        """
        if scene is not None and not isinstance(scene, Scene):
            raise InvalidInputError("a scene to start from is an actionparty.Scene; name one when the env is made.")
        if seed is not None or not self._seeds:
            self._seeds = [EpisodeSeeds(s) for s in row_seeds(seed, self.size)]
        self._begin(range(self.size), scene)
        return self._observe()

    def restart(self, rows: Sequence[int]) -> Arrays:
        """Start an episode in some of the worlds and return the observations of all; the others don't notice.

        Raises:
            InvalidInputError: a row that is no world, or before the first ``reset``.
        """
        self._started()
        self._begin(sorted({whole("the row of a world", row, 0, self.size) for row in rows}), None)
        return self._observe()

    def step(self, actions: Any) -> VectorStep:
        """Advance every world by one step with ``actions`` (B, N), indices into ``spec.actions``.

        Actions of subjects that are not alive do nothing.

        Raises:
            InvalidInputError: wrong actions, no ``reset`` yet, or an episode is over (without ``auto_reset``).
        """
        self._started()
        if self._over.any():
            over = np.flatnonzero(self._over).tolist()
            raise InvalidInputError(f"{self.spec.name}: the episode is over (worlds {over}); reset or restart first.")
        answers = self._now = self._worlds.step(self._check(actions))
        self._steps += 1
        truncated = ~answers.ended & ((self._steps >= self.max_steps) | ~answers.sound)
        self._over = answers.ended | truncated
        observations, final = self._observe(), None
        if self.auto_reset and self._over.any():
            rows = np.flatnonzero(self._over)
            final = Final(rows, {kind: values[rows] for kind, values in observations.items()})
            observations = self.restart(rows.tolist())
        return VectorStep(observations, answers.rewards, answers.ended, truncated, final)

    def close(self) -> None:
        """Free what the worlds hold."""
        self._worlds.close()
        self._now = None

    def _started(self) -> Answers:
        if self._now is None:
            raise InvalidInputError(f"{self.spec.name}: no episode is running; call reset first.")
        return self._now

    def _begin(self, rows: Sequence[int], scene: Scene | None) -> None:
        if not rows:
            return
        self._worlds.restart(list(rows), [self._seeds[row].draw() for row in rows], scene)
        self._now = self._worlds.last()
        self._steps[list(rows)] = 0
        self._over[list(rows)] = False

    def _observe(self) -> Arrays:
        now = self._started()
        return self.observer(now.frames, now.states)

    def _check(self, actions: Any) -> Ints:
        spec, shape = self.spec, (self.size, self.spec.subjects)
        wanted = f"{spec.name}: expected integer actions of shape {shape}"
        try:
            array = np.asarray(actions)
        except ValueError as error:
            raise InvalidInputError(f"{wanted}, but the rows differ in length.") from error
        if array.shape != shape or not np.issubdtype(array.dtype, np.integer):
            raise InvalidInputError(f"{wanted}, but got {array.dtype} of shape {array.shape}.")
        wrong = np.argwhere((array < 0) | (array >= len(spec.actions)))
        if len(wrong):
            row, subject = wrong[0].tolist()
            raise InvalidInputError(
                f"{spec.name}: action {array[row, subject]} of subject {subject} in world {row}; actions are 0 "
                f"({spec.actions[0]}) to {len(spec.actions) - 1} ({spec.actions[-1]})."
            )
        return array.astype(np.int64)


class EpisodeSeeds:
    """The seeds of a world's episodes: ``seed`` itself, then what follows from it; None: by chance."""

    def __init__(self, seed: int | None) -> None:
        self._rng = np.random.default_rng(seed)
        self._first = seed

    def draw(self) -> int:
        """Return the seed of the next episode."""
        first, self._first = self._first, None
        return int(self._rng.integers(_SEEDS)) if first is None else first
