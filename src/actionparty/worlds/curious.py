"""A policy that is curious: it finds out, within an episode, which effect changes which tile, and does that again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from actionparty.types import FACING_STEPS, Ints, Observation, WorldSpec
from actionparty.worlds.seeking import SeekingPolicy, tile_signatures

_AHEAD, _EAGER, _CHOICES = 3, 0.6, 4
"""Cells that a curious subject looks ahead; its eagerness to use what promises to work; places that it compares."""
_EVERYDAY_SHARE = 0.06
"""A tile that fills more of the frame is everyday ground (or wall): nothing to use an effect on."""


class CuriousPolicy(SeekingPolicy):
    """Seek what an effect works on.

    What a subject sees ahead is the nearest cell, within ``_AHEAD`` cells, that is not everyday ground. An effect works
    on such a tile when it is another one after the step while no subject came or went there. Effects that were not
    tried on a tile yet count as if they might work, so all are tried; those that work are used most, and cells with
    such tiles are gone to. So dirt is cleaned, ore mined, walls claimed, and what grows or pays only then appears.
    """

    def reset(self, spec: WorldSpec, seed: int) -> None:
        """Start an episode; nothing is known yet."""
        super().reset(spec, seed)
        self._tried: Counter[tuple[int, int]] = Counter()
        self._worked: Counter[tuple[int, int]] = Counter()
        self._attempts: list[_Attempt] = []

    def act(self, observation: Observation) -> Ints:
        """Return one action index per subject, (N,)."""
        self._now = tile_signatures(observation.frame)
        taken = {(x, y) for x, y in observation.states.cells[observation.states.alive].tolist()}
        self._learn(taken)
        self._everyday = everyday(self._now)
        self._occupied = taken
        actions = super().act(observation)
        effects = set(self._effects)
        self._attempts = [
            _Attempt(int(action), *seen)
            for i, action in enumerate(actions)
            if int(action) in effects and self._alive[i] and (seen := self._ahead(i)) is not None
        ]
        return actions

    def _learn(self, occupied: set[tuple[int, int]]) -> None:
        for attempt in self._attempts:
            x, y = attempt.cell
            if attempt.cell not in occupied:
                self._tried[attempt.effect, attempt.tile] += 1
                self._worked[attempt.effect, attempt.tile] += int(self._now[y, x] != attempt.tile)

    def _ahead(self, i: int) -> tuple[tuple[int, int], int] | None:
        """Return the nearest cell ahead of ``i`` that is not everyday ground, and its tile; None where all are."""
        height, width = self._now.shape
        (x, y), (dx, dy) = self._cells[i], FACING_STEPS[self._facing[i]].tolist()
        for _ in range(_AHEAD):
            x, y = x + dx, y + dy
            if not (0 <= x < width and 0 <= y < height):
                return None
            if (x, y) not in self._occupied and int(self._now[y, x]) not in self._everyday:
                return (x, y), int(self._now[y, x])
        return None

    def _promise(self, effect: int, tile: int) -> float:
        """Return how likely ``effect`` seems to work on ``tile``."""
        return (self._worked[effect, tile] + 0.4) / (self._tried[effect, tile] + 1)

    def _choose(self, i: int) -> int:
        """Use an effect that promises something on what is ahead, else do as a seeking subject does."""
        seen = self._ahead(i) if self._alive[i] and self._effects else None
        if seen is not None and self._chances.next() < _EAGER * self._best(seen[1]):
            return self._effect(i)
        return super()._choose(i)

    def _which_effect(self, i: int) -> int:
        seen = self._ahead(i)
        if seen is None:
            return super()._which_effect(i)
        odds = np.cumsum([self._promise(effect, seen[1]) ** 2 for effect in self._effects])
        return self._effects[int(np.searchsorted(odds, self._chances.next() * odds[-1], side="right"))]

    def _which_place(self, i: int) -> tuple[int, int]:
        """Draw some salient cells and return the one whose tile promises most."""
        drawn = [super(CuriousPolicy, self)._which_place(i) for _ in range(_CHOICES)]
        return max(drawn, key=lambda cell: self._best(int(self._now[cell[1], cell[0]])))

    def _best(self, tile: int) -> float:
        return max((self._promise(effect, tile) for effect in self._effects), default=0.0)


@dataclass(frozen=True)
class _Attempt:
    """An effect that a subject used on what it saw ahead."""

    effect: int
    cell: tuple[int, int]
    tile: int


def everyday(signatures: Ints) -> set[int]:
    """Return the signatures that fill more than ``_EVERYDAY_SHARE`` of the frame."""
    values, counts = np.unique(signatures, return_counts=True)
    return set(values[counts > _EVERYDAY_SHARE * signatures.size].tolist())
