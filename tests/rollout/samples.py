"""Rollouts of random networks that change much in every step, from scenes of the arena."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import torch
from tests.model.samples import answers, network, random_sample
from tests.training.samples import TINY, play

from actionparty.config import RolloutConfig
from actionparty.data.clips import to_unit
from actionparty.model.network import Network
from actionparty.rollout.rollout import BatchRollout, RolloutStep
from actionparty.rollout.table import to_cells
from actionparty.types import Episode, Ints, Scene

ARENA = replace(TINY, worlds=("arena",))
CPU = torch.device("cpu")
SUBJECTS = 3


@functools.cache
def episode(seed: int = 0) -> Episode:
    return play(20, seed, SUBJECTS, (6, 7))


def scene(step: int = 10, seed: int = 0) -> Scene:
    return episode(seed).scene(step, ARENA.context, ARENA.memory)


@functools.cache
def model() -> Network:
    """A network that opens about a third of the gates and moves subjects about."""
    made = network(3, ARENA)
    gate = made.render.gate[3]
    assert isinstance(gate, torch.nn.Linear)
    for weight, scale in ((made.update.out.weight, 8), (made.render.pixels.weight, 3), (gate.weight, 4)):
        weight.mul_(scale)
    sample = random_sample(16, SUBJECTS, (6, 7))
    real = to_unit(torch.from_numpy(np.stack([to_cells(frame) for frame in episode().frames(0, 16)])))
    said = answers(made, replace(sample, context=real[:, None].expand_as(sample.context)))
    states = said.states.flatten(0, 1)
    shift = torch.tensor([0.0, 0, 0, 0, 0, 0, 1, -1])
    made.update.out.bias.add_(shift * states.std(0) - states.mean(0))
    gate.bias.sub_(said.gate.quantile(0.65))
    return made


def rollout(settings: RolloutConfig | None = None) -> BatchRollout:
    return BatchRollout(model(), settings, device=CPU)


def started(seeds: list[int], settings: RolloutConfig | None = None) -> BatchRollout:
    """Start a rollout for each seed, from the scene of that number."""
    made = rollout(settings)
    made.reset([scene(5 + s % 9, s % 2) for s in seeds], seeds)
    return made


def actions(steps: int, batch: int, seed: int = 0) -> Ints:
    """(steps, batch, N)"""
    return np.random.default_rng(seed).integers(0, 9, (steps, batch, SUBJECTS))


def play_on(going: BatchRollout, chosen: Ints) -> list[RolloutStep]:
    return [going.step(row) for row in chosen]


def identical(a: RolloutStep, b: RolloutStep) -> bool:
    return all(
        np.array_equal(x, y)
        for x, y in (
            (a.frames, b.frames),
            (a.states.position, b.states.position),
            (a.states.facing, b.states.facing),
            (a.states.alive, b.states.alive),
            (a.rewards, b.rewards),
            (a.ended, b.ended),
        )
    )
