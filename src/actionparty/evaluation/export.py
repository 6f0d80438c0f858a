"""Export: turn a training run into a checkpoint folder that stands alone.

Beside the weights it holds what people need who have neither the run nor a simulator: scenes to start from, labelled
tiles (for the detector and for tile snapping) and held-out recordings to evaluate on.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from actionparty.checkpoints import CONFIG, WEIGHTS, find_checkpoint
from actionparty.config import ModelConfig
from actionparty.data.dataset import load_episodes, open_dataset
from actionparty.data.recording import FIRST_EVALUATION_SEED
from actionparty.data.subset import copy_shards
from actionparty.errors import DatasetError, InvalidInputError
from actionparty.evaluation.labels import build_labels
from actionparty.rollout.scenes import LABELS, SCENES, save_scene
from actionparty.training.checkpoint import load_network
from actionparty.types import Episode

HELD_OUT = "held-out"
_SCENE_STEP = 60
"""Scenes are taken this many rows further into each next episode."""


@dataclass(frozen=True)
class Export:
    """What was written."""

    folder: Path
    worlds: tuple[str, ...]
    scenes: int
    held_out: int
    bytes: int


def export(
    run: str | Path, train: Sequence[Path], held_out: Path, out: Path, scenes: int = 8, episodes: int = 20
) -> Export:
    """Write the weights of ``run`` with ``scenes`` starts, tile labels and ``episodes`` held-out recordings per world.

    Tile labels come from the training recordings in ``train``; scenes from held-out ones, so none was trained on.

    Raises:
        InvalidInputError: ``out`` exists.
        DatasetError: a world of the checkpoint without training or held-out recordings.
    """
    if out.exists():
        raise InvalidInputError(f"{out}: exists; choose a new folder, or remove it first.")
    source = find_checkpoint(run)
    model = load_network(source).config
    staging = out.with_name(f".{out.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    for name in (WEIGHTS, CONFIG):
        shutil.copyfile(source / name, staging / name)
    count = 0
    known = {path: open_dataset(path).worlds for path in train}
    for world in model.worlds:
        having = [path for path, recorded_worlds in known.items() if world in recorded_worlds]
        recorded = [e for path in having for e in load_episodes(path, [world]) if e.seed < FIRST_EVALUATION_SEED]
        if not recorded:
            raise DatasetError(f"{world}: no training recordings in {', '.join(map(str, train))}.")
        build_labels(recorded).save(staging / LABELS / f"{world}.npz")
        unseen = [e for e in load_episodes(held_out, [world]) if e.seed >= FIRST_EVALUATION_SEED]
        count += _write_scenes(staging / SCENES / world, world, unseen, scenes, model)
    kept = copy_shards(held_out, staging / HELD_OUT, model.worlds, episodes)
    staging.replace(out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return Export(out, model.worlds, count, kept, size)


def _write_scenes(folder: Path, world: str, episodes: Sequence[Episode], scenes: int, model: ModelConfig) -> int:
    if not episodes:
        raise DatasetError(
            f"{world}: no held-out recordings (seed labels from {FIRST_EVALUATION_SEED}) to take scenes from."
        )
    for k in range(scenes):
        episode = episodes[k % len(episodes)]
        step = min(len(episode) - 1, model.context + k * _SCENE_STEP)
        save_scene(folder / f"{k}.npz", episode.scene(step, model.context))
    return scenes
