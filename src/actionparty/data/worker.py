"""What one worker does: it keeps one world open and turns tasks into staged shard files; and what it says to others.

It never touches the dataset itself, knows no manifest and no schedule, and does not know where it runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actionparty.data.shards import FileRecord
from actionparty.data.tiles import FrameEncoder, is_cellular
from actionparty.errors import (
    ActionPartyError,
    DatasetError,
    InvalidInputError,
    MissingDependencyError,
    UnknownNameError,
)
from actionparty.types import CELL, NO_ACTION, Episode, Ints, Observation, Policy, SubjectStates, World, WorldSpec

MakeWorld = Callable[[str, int | None], World]
MakePolicy = Callable[[str], Policy]

CHEAP_RESET_SECONDS = 0.25
"""A world that resets quicker than this is reset for every shard."""
RESET_SHARE = 0.25
"""Slower worlds go on from shard to shard until their resets cost at most about this share of the time."""
LIVELY_SHARE = 0.75
"""Share of subjects that must be alive for a world to go on: in some they never come back."""
SHORTEST_REST = 32
"""Rows that must be left of a world's episode for it to fill another shard."""
ROWS_PER_REPORT = 50
FATAL = (UnknownNameError, MissingDependencyError, DatasetError)
"""Errors that stop the whole recording; any other one skips its world."""


@dataclass(frozen=True)
class Task:
    """One shard to record: up to ``limit`` rows of a world, staged at the stem ``staged``."""

    world: str
    subjects: int | None
    policy: str
    seed: int
    limit: int
    staged: Path


@dataclass(frozen=True)
class Ready:
    """The worker is there and takes tasks."""


@dataclass(frozen=True)
class Report:
    """The shard has ``rows`` rows so far."""

    rows: int


@dataclass(frozen=True)
class Done:
    """The task is staged; ``summary`` is the episode without its pictures."""

    summary: Episode
    files: Mapping[str, FileRecord]


@dataclass(frozen=True)
class Failed:
    """The world of the task can't be recorded, or with ``fatal`` nothing can."""

    reason: str
    fatal: ActionPartyError | None


@dataclass(frozen=True)
class Lost:
    """The worker died, with whatever it was recording."""

    reason: str


Message = Ready | Report | Done | Failed | Lost


class Camera:
    """Records episodes of one world after the other, reusing an open world where resetting it is dear."""

    def __init__(self, make_world: MakeWorld, make_policy: MakePolicy) -> None:
        self._make_world = make_world
        self._make_policy = make_policy
        self._open: tuple[str, int | None] | None = None
        self._world: World | None = None
        self._last: Observation | None = None
        self._reset_at = 0.0
        self._reset_seconds = 0.0

    def record(self, task: Task, report: Callable[[int], None]) -> Episode:
        """Record one episode of up to ``task.limit`` rows."""
        world = self._world_of(task)
        start = self._go_on()
        if start is None:
            return self._play(world, task, self._reset(world, task.seed), report)
        episode = self._play(world, task, start, report)
        if episode.ended and len(episode) < min(SHORTEST_REST, task.limit):
            return self._play(world, task, self._reset(world, task.seed), report)
        return episode

    def close(self) -> None:
        """Free the open world."""
        if self._world is not None:
            self._world.close()
        self._world = self._last = self._open = None

    def _world_of(self, task: Task) -> World:
        if self._world is None or self._open != (task.world, task.subjects):
            self.close()
            self._world = self._make_world(task.world, task.subjects)
            self._open = (task.world, task.subjects)
        return self._world

    def _play(self, world: World, task: Task, start: Observation, report: Callable[[int], None]) -> Episode:
        policy = self._make_policy(task.policy)
        policy.reset(world.spec, task.seed)
        rows = _Rows(world.spec, task.limit)
        rows.add(start, None)
        observation = start
        while len(rows) < task.limit and not observation.ended:
            actions = policy.act(observation)
            observation = world.step(actions)
            rows.add(observation, actions)
            if len(rows) % ROWS_PER_REPORT == 0:
                report(len(rows))
        self._last = observation
        return rows.episode(task, observation.ended)

    def _go_on(self) -> Observation | None:
        """Return the last observation as a start (its rewards belong to the shard before), unless a reset is better."""
        last = self._last
        if last is None or last.ended or not self._reset_is_dear() or last.states.alive.mean() < LIVELY_SHARE:
            return None
        return Observation(last.frame, last.states, np.zeros_like(last.rewards), False)

    def _reset(self, world: World, seed: int) -> Observation:
        began = time.monotonic()
        observation = world.reset(seed=seed)
        self._reset_at = time.monotonic()
        self._reset_seconds = self._reset_at - began
        return observation

    def _reset_is_dear(self) -> bool:
        recorded = time.monotonic() - self._reset_at
        return self._reset_seconds > max(CHEAP_RESET_SECONDS, recorded * RESET_SHARE)


class _Rows:
    """The rows of an episode while it is recorded."""

    def __init__(self, spec: WorldSpec, limit: int) -> None:
        n = spec.subjects
        self._spec = spec
        self._encoder = FrameEncoder()
        self._position = np.zeros((limit, n, 2), np.float32)
        self._facing = np.zeros((limit, n), np.int64)
        self._alive = np.zeros((limit, n), np.bool_)
        self._actions = np.full((limit, n), NO_ACTION, np.int64)
        self._rewards = np.zeros((limit, n), np.float32)

    def __len__(self) -> int:
        return len(self._encoder)

    def add(self, observation: Observation, actions: Ints | None) -> None:
        row = len(self)
        height, width = (side * CELL for side in self._spec.grid)
        if is_cellular(observation.frame) and observation.frame.shape[:2] != (height, width):
            raise InvalidInputError(f"its frames have shape {observation.frame.shape}, not ({height}, {width}, 3).")
        self._encoder.add(observation.frame)
        self._position[row] = observation.states.position
        self._facing[row] = observation.states.facing
        self._alive[row] = observation.states.alive
        self._rewards[row] = observation.rewards
        if actions is not None:
            self._actions[row] = actions

    def episode(self, task: Task, ended: bool) -> Episode:
        rows = len(self)
        pictures = self._encoder.finish()
        return Episode(
            world=self._spec,
            seed=task.seed,
            tiles=pictures.tiles,
            grid=pictures.grid,
            states=SubjectStates(self._position[:rows], self._facing[:rows], self._alive[:rows]),
            actions=self._actions[:rows],
            rewards=self._rewards[:rows],
            ended=ended,
            policy=task.policy,
            frames_raw=pictures.raw,
        )


def answer(camera: Camera, task: Task, report: Callable[[int], None]) -> Done | Failed:
    """Record ``task`` and stage its files; ``report`` is told the rows so far, and may raise that nobody listens."""
    from actionparty.data.episodes import write_episode  # with pyarrow, which training from packed data does without

    try:
        episode = camera.record(task, report)
        return Done(_without_pictures(episode), write_episode(task.staged, episode))
    except FATAL as error:
        return Failed(str(error), error)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # noqa: BLE001  a simulator may raise anything: its world is skipped, the reason shown
        kind = "" if isinstance(error, ActionPartyError) else f"{type(error).__name__}: "
        return Failed(f"{kind}{error}", None)


def _without_pictures(episode: Episode) -> Episode:
    empty = {"tiles": episode.tiles[:0], "grid": episode.grid[:, :0, :0], "frames_raw": None}
    return Episode(**{**vars(episode), **empty})
