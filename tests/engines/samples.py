"""Engines that are installed here, on shipped weights, and short rollouts by them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pytest

from actionparty.checkpoints import find_checkpoint
from actionparty.config import ENGINES
from actionparty.engines.choice import lacks
from actionparty.engines.engine import Engine
from actionparty.model.network import Network
from actionparty.rollout.rollout import BatchRollout, RolloutStep
from actionparty.rollout.scenes import load_scene, scene_paths
from actionparty.training.checkpoint import load_network

WORLD, WEIGHTS = "collaborative_cooking__cramped", "all"
EXACT = ("onnx", "openvino")


def engines(names: Sequence[str] = ENGINES) -> list[object]:
    """Return ``names`` as parameters of a test, skipped where they can't be used here."""
    return [pytest.param(name, marks=pytest.mark.skipif(bool(lacks(name)), reason=str(lacks(name)))) for name in names]


@functools.cache
def network() -> Network:
    return load_network(find_checkpoint(WEIGHTS))


@functools.cache
def engine(name: str) -> Engine:
    return BatchRollout(network(), engine=name).engine


def started(name: str, seeds: Sequence[int]) -> BatchRollout:
    """Return a rollout for each of ``seeds``, each from a scene of its own, by the engine ``name``."""
    paths = scene_paths(find_checkpoint(WEIGHTS), WORLD)
    rollout = BatchRollout(network(), engine=name)
    rollout._engine = engine(name)  # opened once for all tests
    rollout.reset([load_scene(paths[seed % len(paths)]) for seed in seeds], seeds)
    return rollout


def play_on(rollout: BatchRollout, steps: int, rows: Sequence[int] = (0, 1, 2)) -> list[RolloutStep]:
    """Step ``rollout``; its rollouts do what ``rows`` of the same random actions say."""
    chosen = np.random.default_rng(5).integers(len(rollout.spec.actions), size=(steps, 3, rollout.spec.subjects))
    return [rollout.step(chosen[step, list(rows)]) for step in range(steps)]


def same(a: RolloutStep, b: RolloutStep) -> bool:
    """Whether two steps are the same to the last bit."""
    values = ((s.frames, s.states.position, s.states.facing, s.states.alive, s.rewards, s.ended) for s in (a, b))
    return all(np.array_equal(x, y) for x, y in zip(*values, strict=True))
