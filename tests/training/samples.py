"""Recordings of the arena and tiny training runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from actionparty.config import ModelConfig, TrainConfig, model_preset
from actionparty.data.clips import WorldClips
from actionparty.training.processes import Processes
from actionparty.training.trainer import Trainer
from actionparty.types import CELL, NO_ACTION, Episode, Observation, SubjectStates
from actionparty.worlds.arena import ArenaWorld
from actionparty.worlds.policies import policy

CPU = torch.device("cpu")
TINY = model_preset("tiny")
QUICK = TrainConfig(frames=16, batch=4, warmup_frames=8, bf16="off", checkpoint_seconds=1e9, render_cells=8)
PAIR = replace(QUICK, worlds_per_step=2, frames=32, unroll=0.3)
"""Four steps of two batches of four frames."""
PARTY = """
    #######
    #>...v#
    #..c..#
    #..o..#
    #^...<#
    #######
"""


def play(rows: int, seed: int, subjects: int = 2, size: tuple[int, int] = (6, 7), layout: str | None = None) -> Episode:
    """Record ``rows`` rows of an arena with random actions."""
    world = ArenaWorld(None if layout else subjects, None if layout else size, layout, coin_rate=0.1)
    actor = policy("random")
    actor.reset(world.spec, seed)
    seen = [world.reset(seed=seed)]
    actions = [np.full(world.spec.subjects, NO_ACTION)]
    for _ in range(rows - 1):
        actions.append(actor.act(seen[-1]))
        seen.append(world.step(actions[-1]))
    return episode_of(world, seed, seen, np.stack(actions))


def episode_of(world: ArenaWorld, seed: int, seen: list[Observation], actions: NDArray[np.int64]) -> Episode:
    """Pack what was seen into an episode of tiles."""
    h, w = world.spec.grid
    frames = np.stack([o.frame for o in seen])
    cells = frames.reshape(len(seen), h, CELL, w, CELL, 3).transpose(0, 1, 3, 2, 4, 5)
    tiles, grid = np.unique(cells.reshape(-1, CELL * CELL * 3), axis=0, return_inverse=True)
    return Episode(
        world.spec,
        seed,
        tiles.reshape(-1, CELL, CELL, 3),
        grid.reshape(len(seen), h, w).astype(np.uint16),
        SubjectStates.stack([o.states for o in seen]),
        actions.astype(np.int64),
        np.stack([o.rewards for o in seen]),
        seen[-1].ended,
    )


def renamed(episode: Episode, name: str) -> Episode:
    return replace(episode, world=replace(episode.world, name=name))


def arena_clips(rows: int = 40, episodes: int = 2, subjects: int = 2, size: tuple[int, int] = (6, 7)) -> WorldClips:
    return WorldClips(play(rows, seed, subjects, size) for seed in range(episodes))


def trainer(
    folder: Path, config: TrainConfig = QUICK, model: ModelConfig = TINY, processes: Processes | None = None
) -> Trainer:
    """Make the same small trainer at every call; it has two worlds of different sizes."""
    large = [renamed(play(30, 5, subjects=3, size=(7, 9)), "arena_large")]
    return Trainer(folder, model, config, {"arena": arena_clips(), "arena_large": WorldClips(large)}, CPU, processes)
