"""Small worlds and policies that live outside the package, so that data tests need neither simulator nor arena."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import numpy as np

from actionparty.data.tiles import encode
from actionparty.errors import unknown_name
from actionparty.types import (
    CELL,
    NO_ACTION,
    Bools,
    Episode,
    Floats,
    Frame,
    Ints,
    Observation,
    Scene,
    SubjectStates,
    World,
    WorldSpec,
)

ACTIONS = ("noop", "forward", "turn_right")


class FakeWorld:
    """Subjects drift over random tiles; everything follows from the seed."""

    def __init__(
        self, name: str, subjects: int = 2, grid: tuple[int, int] = (3, 4), length: int = 10**9, mortal: bool = True
    ) -> None:
        self.resets = 0
        self._mortal = mortal
        self._spec = WorldSpec(name, subjects, grid, ACTIONS)
        self._length = length
        self._steps = 0
        self._rng = np.random.default_rng(0)
        self._tiles = np.random.default_rng(7).integers(0, 256, (5, CELL, CELL, 3), dtype=np.uint8)
        self._grid = np.zeros(grid, np.int64)

    @property
    def spec(self) -> WorldSpec:
        return self._spec

    def reset(self, *, seed: int | None = None, scene: Scene | None = None) -> Observation:
        self._rng = np.random.default_rng(seed)
        self._steps = 0
        self.resets += 1
        self._grid = self._rng.integers(0, 5, self._spec.grid)
        return self._observe(np.zeros(self._spec.subjects, np.float32))

    def step(self, actions: Ints) -> Observation:
        self._steps += 1
        h, w = self._spec.grid
        self._grid[self._rng.integers(0, h), self._rng.integers(0, w)] = self._rng.integers(0, 5)
        return self._observe(self._rng.random(self._spec.subjects).astype(np.float32))

    def close(self) -> None:
        pass

    def frame(self) -> Frame:
        return self._tiles[self._grid].transpose(0, 2, 1, 3, 4).reshape(*(CELL * n for n in self._spec.grid), 3)

    def _observe(self, rewards: Floats) -> Observation:
        n = self._spec.subjects
        h, w = self._spec.grid
        position = np.stack([self._rng.integers(0, w, n), self._rng.integers(0, h, n)], -1).astype(np.float32)
        alive: Bools = self._rng.random(n) < (0.9 if self._mortal else 2)
        states = SubjectStates(position, self._rng.integers(0, 4, n), alive)
        return Observation(self.frame(), states, rewards, self._steps >= self._length)


class NoisyWorld(FakeWorld):
    """Every frame is new noise: not tile-like."""

    def frame(self) -> Frame:
        h, w = self._spec.grid
        return self._rng.integers(0, 256, (h * CELL, w * CELL, 3), dtype=np.uint8)


class WideWorld(FakeWorld):
    """Shows more cells than it says."""

    def frame(self) -> Frame:
        return np.pad(super().frame(), ((0, 0), (0, CELL), (0, 0)))


class SlowWorld(FakeWorld):
    """Takes a while for each step, so that a recording can be interrupted."""

    def step(self, actions: Ints) -> Observation:
        time.sleep(0.002)
        return super().step(actions)


class DearWorld(FakeWorld):
    """Its reset takes longer than its steps."""

    def reset(self, *, seed: int | None = None, scene: Scene | None = None) -> Observation:
        time.sleep(0.3)
        return super().reset(seed=seed, scene=scene)


class FullWorld(FakeWorld):
    """Its process can't write a byte to any file, as on a full disk."""

    def reset(self, *, seed: int | None = None, scene: Scene | None = None) -> Observation:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        return super().reset(seed=seed, scene=scene)


class DeadlyWorld(FakeWorld):
    """Kills its process."""

    def step(self, actions: Ints) -> Observation:
        os._exit(7)


class FrailWorld(FakeWorld):
    """Kills its process at its first step, unless one has done so and left the file ``grave``."""

    grave = Path()

    def step(self, actions: Ints) -> Observation:
        try:
            self.grave.touch(exist_ok=False)  # of two that come at once, one dies
        except FileExistsError:
            return super().step(actions)
        os._exit(7)


class ReluctantWorld(FrailWorld):
    """Kills one process in each of its episodes with an even seed, at the first step."""

    graves = Path()

    def reset(self, *, seed: int | None = None, scene: Scene | None = None) -> Observation:
        self.grave = self.graves / f"{seed}"
        if seed is not None and seed % 2:
            self.grave.touch()
        return super().reset(seed=seed, scene=scene)


class FakePolicy:
    """Acts at random."""

    def reset(self, spec: WorldSpec, seed: int) -> None:
        self._spec = spec
        self._rng = np.random.default_rng(seed)

    def act(self, observation: Observation) -> Ints:
        return self._rng.integers(0, len(self._spec.actions), self._spec.subjects)


def make_world(name: str, subjects: int | None) -> World:
    if name == "broken":
        raise RuntimeError("no such level")
    if name == "unknown":
        raise unknown_name("world", name, ("known",))
    kinds = {
        "noisy": NoisyWorld,
        "slow": SlowWorld,
        "dear": DearWorld,
        "deadly": DeadlyWorld,
        "full": FullWorld,
        "wide": WideWorld,
    }
    length = int(name.removeprefix("short")) if name.startswith("short") else 10**9
    return kinds.get(name, FakeWorld)(name, subjects or 2, length=length)


def make_frail(grave: Path, name: str, subjects: int | None) -> World:
    """Return a world that kills one process, and no second."""
    world = FrailWorld(name, subjects or 2)
    world.grave = grave
    return world


def make_reluctant(graves: Path, name: str, subjects: int | None) -> World:
    """Return a world each of whose episodes with an even seed kills one process, and no second."""
    world = ReluctantWorld(name, subjects or 2)
    world.graves = graves
    return world


def make_policy(name: str) -> FakePolicy:
    return FakePolicy()


def episode(world: FakeWorld, steps: int, seed: int = 0) -> Episode:
    """Return an episode of ``world``, put together without the recorder."""
    policy = make_policy("any")
    policy.reset(world.spec, seed)
    seen = [world.reset(seed=seed)]
    actions = [np.full(world.spec.subjects, NO_ACTION, np.int64)]
    for _ in range(steps - 1):
        actions.append(policy.act(seen[-1]))
        seen.append(world.step(actions[-1]))
    pictures = encode(np.stack([o.frame for o in seen]))
    return Episode(
        world=world.spec,
        seed=seed,
        tiles=pictures.tiles,
        grid=pictures.grid,
        states=SubjectStates.stack([o.states for o in seen]),
        actions=np.stack(actions),
        rewards=np.stack([o.rewards for o in seen]),
        ended=seen[-1].ended,
        policy="any",
        frames_raw=pictures.raw,
    )


def same(a: Episode, b: Episode) -> bool:
    """Return whether two episodes agree in every value and type."""
    pairs = [(getattr(a.states, f), getattr(b.states, f)) for f in ("position", "facing", "alive")]
    pairs += [(getattr(a, f), getattr(b, f)) for f in ("tiles", "grid", "actions", "rewards")]
    pairs += [(a.frames(), b.frames())]
    arrays = all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in pairs)
    return arrays and all(getattr(a, f) == getattr(b, f) for f in ("world", "seed", "ended", "policy"))
