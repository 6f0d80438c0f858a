"""A policy that seeks: every subject goes to another one or to something salient, and bumps into it or acts on it.

Also what policies look at: how alike tiles are, which cells stand out, how often a random policy takes which action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from actionparty.errors import InvalidInputError
from actionparty.types import CELL, FACING_STEPS, Frame, Ints, Observation, WorldSpec
from actionparty.vocabulary import MOVES

_SHARES = {
    "noop": 0.04,
    "forward": 0.40,
    "backward": 0.06,
    "step_left": 0.08,
    "step_right": 0.08,
    "turn_left": 0.09,
    "turn_right": 0.09,
}
"""Of the moves in a random policy; the rest is shared evenly by the effects of a world."""
_EFFECT_SHARE = 0.16
_STEPS = ("forward", "backward", "step_left", "step_right")
_BY_TURN = (("forward",), ("step_right", "turn_right"), ("backward", "turn_right"), ("step_left", "turn_left"))
"""Actions that lead towards a direction 0 to 3 quarter turns clockwise of the facing."""
_TURNS = ("forward", "turn_right", "turn_right", "turn_left")
_EFFECT_ON_SUBJECT, _EFFECT_ON_PLACE, _EFFECT_WHEN_BLOCKED = 0.3, 0.7, 0.3
"""Chances that a seeking subject uses an effect on what is before it (else it walks on)."""
_REMOVING, _MERCY = ("fire_zap", "fire_zap_2", "tag"), 0.7
"""Effects that take others off the map, and how often a seeking subject that would use one walks on instead."""
_LOOK_EVERY = 12
"""Steps between two looks at the picture for salient cells."""


@dataclass
class _Errand:
    """What one subject is up to: a target (a subject if ``who`` >= 0, else a place), until its patience is out."""

    who: int = -1
    place: tuple[int, int] = (0, 0)
    patience: int = 0
    before: tuple[int, int] = (-1, -1)
    moved: bool = False
    detour: int = 0
    way: int = 0


class SeekingPolicy:
    """Send every subject to another subject or to a salient cell, to bump into it or use an effect on it.

    Salient are cells whose tile is rare in the frame or changed since the last look. With probability ``epsilon``
    an action is drawn at random, and a blocked subject goes sideways for a while, so that nobody stays stuck.
    """

    def __init__(self, epsilon: float = 0.12, social: float = 0.5) -> None:
        if not (0 <= epsilon <= 1 and 0 <= social <= 1):
            raise InvalidInputError(f"epsilon and social are probabilities, but got {epsilon} and {social}.")
        self._epsilon, self._social = epsilon, social

    def reset(self, spec: WorldSpec, seed: int) -> None:
        """Start an episode."""
        self._spec = spec
        self._rng = np.random.default_rng([2, seed])
        self._edges = np.cumsum(action_shares(spec.actions))
        self._index = {name: i for i, name in enumerate(spec.actions)}
        self._effects = [i for i, name in enumerate(spec.actions) if name not in MOVES]
        self._errands = [_Errand() for _ in range(spec.subjects)]
        self._signatures: Ints | None = None
        self._salient: list[tuple[int, int]] = []
        self._step = 0
        self._chances = _Chances(self._rng)

    def act(self, observation: Observation) -> Ints:
        """Return one action index per subject, (N,)."""
        if self._step % _LOOK_EVERY == 0:
            self._look(observation)
        self._step += 1
        self._cells = [(x, y) for x, y in observation.states.cells.tolist()]
        self._facing = observation.states.facing.tolist()
        self._alive = observation.states.alive.tolist()
        return np.array([self._choose(i) for i in range(self._spec.subjects)], np.int64)

    def _look(self, observation: Observation) -> None:
        signatures = tile_signatures(observation.frame)
        salient = salient_cells(signatures, self._signatures)
        self._signatures = signatures
        taken = {(x, y) for x, y in observation.states.cells.tolist()}
        self._salient = [(x, y) for y, x in np.argwhere(salient).tolist() if (x, y) not in taken]

    def _choose(self, i: int) -> int:
        errand = self._errands[i]
        cell = self._cells[i]
        blocked = errand.moved and cell == errand.before
        errand.before, errand.moved = cell, False
        if not self._alive[i] or self._chances.next() < self._epsilon:
            return self._random_action()
        target = self._target(i, errand)
        dx, dy = target[0] - cell[0], target[1] - cell[1]
        if abs(dx) + abs(dy) <= 1:
            return self._meet(i, errand, dx, dy)
        return self._walk(i, errand, dx, dy, blocked)

    def _target(self, i: int, errand: _Errand) -> tuple[int, int]:
        """Return where ``i`` is going, after choosing anew if that has become pointless."""
        errand.patience -= 1
        if errand.patience < 0 or (errand.who >= 0 and not self._alive[errand.who]):
            self._retarget(i, errand)
        return self._cells[errand.who] if errand.who >= 0 else errand.place

    def _retarget(self, i: int, errand: _Errand) -> None:
        height, width = self._spec.grid
        others = [j for j, alive in enumerate(self._alive) if alive and j != i]
        chance = self._chances
        errand.patience = 10 + int(chance.next() * 30)
        errand.who = -1
        if others and chance.next() < self._social:
            errand.who = others[int(chance.next() * len(others))]
        elif self._salient:
            errand.place = self._which_place(i)
        else:
            errand.place = int(chance.next() * width), int(chance.next() * height)

    def _which_place(self, i: int) -> tuple[int, int]:
        return self._salient[int(self._chances.next() * len(self._salient))]

    def _meet(self, i: int, errand: _Errand, dx: int, dy: int) -> int:
        """Turn to the target next to ``i``, then use an effect on it or walk into it."""
        if (dx, dy) != (0, 0):
            turn = (_direction(dx, dy) - self._facing[i]) % 4
            if turn:
                return self._action(_TURNS[turn])
        if self._chances.next() < 0.3:
            errand.patience = 0
        if self._effects and self._chances.next() < (_EFFECT_ON_SUBJECT if errand.who >= 0 else _EFFECT_ON_PLACE):
            return self._effect(i)
        errand.moved = True
        return self._action("forward")

    def _walk(self, i: int, errand: _Errand, dx: int, dy: int, blocked: bool) -> int:
        """Go one step along the longer way, now and then the other, or sideways after bumping into something."""
        chance = self._chances.next()
        straight = abs(dx) * chance >= abs(dy) * (1 - chance)
        way = _direction(dx, 0) if straight and dx else _direction(0, dy) if dy else _direction(dx, 0)
        if blocked:
            if self._effects and self._chances.next() < _EFFECT_WHEN_BLOCKED:
                return self._effect(i)
            errand.way = (way + (1 if chance < 0.5 else 3)) % 4
            errand.detour = 1 + int(self._chances.next() * 3)
        if errand.detour > 0:
            errand.detour -= 1
            way = errand.way
        options = _BY_TURN[(way - self._facing[i]) % 4]
        name = options[int(self._chances.next() * len(options))]
        errand.moved = not name.startswith("turn")
        return self._action(name)

    def _effect(self, i: int) -> int:
        """Return the effect that ``i`` uses now, or a step where it shows mercy."""
        chosen = self._which_effect(i)
        if self._spec.actions[chosen] in _REMOVING and self._chances.next() < _MERCY:
            return self._action("forward")
        return chosen

    def _which_effect(self, i: int) -> int:
        return self._effects[int(self._chances.next() * len(self._effects))]

    def _action(self, name: str) -> int:
        return self._index[name] if name in self._index else self._random_action()

    def _random_action(self) -> int:
        return int(np.searchsorted(self._edges, self._chances.next() * self._edges[-1], side="right"))


def action_shares(actions: tuple[str, ...]) -> NDArray[np.float64]:
    """Return how often a random policy takes each action, (len(actions),), summing to 1.

    Where nobody can turn, no direction is better than another: all who go forward most would meet at the top.
    """
    effects = sum(name not in MOVES for name in actions)
    shares = np.array([_SHARES[name] if name in _SHARES else _EFFECT_SHARE / effects for name in actions])
    steps = np.array([name in _STEPS for name in actions])
    if steps.any() and not {"turn_left", "turn_right"} & set(actions):
        shares[steps] = shares[steps].mean()
    normed: NDArray[np.float64] = shares / shares.sum()
    return normed


def tile_signatures(frame: Frame) -> Ints:
    """Return a number for the tile of every cell, (h, w): equal tiles get equal ones (nine pixels are compared)."""
    height, width = frame.shape[0] // CELL, frame.shape[1] // CELL
    tiles = frame[: height * CELL, : width * CELL].reshape(height, CELL, width, CELL, 3)
    picked = tiles[:, 1:7:2, :, 1:7:2].transpose(0, 2, 1, 3, 4).reshape(height, width, -1)
    weights = 1 + np.arange(picked.shape[-1], dtype=np.int64) * 7919 % 10007
    signatures: Ints = picked.astype(np.int64) @ weights
    return signatures


def salient_cells(now: Ints, before: Ints | None, share: float = 0.02) -> NDArray[np.bool_]:
    """Mark the cells whose signature is rare (at most ``share`` of the frame) or changed since ``before``."""
    _, inverse, counts = np.unique(now, return_inverse=True, return_counts=True)
    salient: NDArray[np.bool_] = counts[inverse.reshape(now.shape)] <= max(2, share * now.size)
    return salient if before is None else salient | (now != before)


class _Draws(Protocol):
    def random(self, size: int) -> NDArray[np.float64]: ...


class _Chances:
    """Hand out random numbers in [0, 1) one by one, drawn in blocks because that is cheaper."""

    def __init__(self, rng: _Draws) -> None:
        self._rng = rng
        self._block: list[float] = []

    def next(self) -> float:
        """Return the next number."""
        if not self._block:
            self._block = self._rng.random(512).tolist()
        return self._block.pop()


def _direction(dx: int, dy: int) -> int:
    """Return the facing that points along (dx, dy), one of which is 0."""
    sign = ((dx > 0) - (dx < 0), (dy > 0) - (dy < 0))
    return _FACING_OF[sign]


_FACING_OF = {(int(x), int(y)): facing for facing, (x, y) in enumerate(FACING_STEPS)}
