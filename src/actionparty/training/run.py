"""Run folders: a new one says how to repeat its run, one that is there is continued or left alone."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from actionparty.checkpoints import read_json, write_json
from actionparty.config import ModelConfig, TrainConfig, from_json, to_json
from actionparty.data.clips import WorldClips
from actionparty.errors import CheckpointError, InvalidInputError
from actionparty.training.ancestry import KEY as ANCESTRY
from actionparty.training.ancestry import ancestry_of
from actionparty.training.processes import Processes
from actionparty.training.trainer import Trainer

RECIPE = "run.json"


def start_run(
    folder: Path,
    model: ModelConfig,
    config: TrainConfig,
    worlds: Mapping[str, WorldClips],
    *,
    resume: bool = False,
    init: Path | None = None,
    processes: Processes | None = None,
) -> Trainer:
    """Make a run folder that says how to repeat it, or continue the one that is there.

    A new run may start from the weights in the checkpoint folder ``init``; what they lack starts fresh. All of
    ``processes`` call this; the main one looks at the folder and writes.

    Raises:
        InvalidInputError: the folder holds a run and ``resume`` is False, or something that is not a run.
        CheckpointError: the run there has another model or other worlds.
    """
    processes = processes or Processes()
    processes.main_only(lambda: _check_folder(folder, model, worlds, resume))
    trainer = Trainer(folder, model, config, worlds, processes=processes)
    if trainer.resume():
        trainer.ancestry = ancestry_of(read_json(folder / RECIPE))
    elif init is not None:
        trainer.start_from(init)
    trainer.check_same()
    processes.main_only(lambda: _write_recipe(trainer))
    return trainer


def _check_folder(folder: Path, model: ModelConfig, worlds: Mapping[str, WorldClips], resume: bool) -> None:
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / RECIPE).exists():
        raise InvalidInputError(f"{folder}: exists and is not a training run; choose another --out.")
    if not resume:
        raise InvalidInputError(f"{folder}: holds a run already; add --resume to continue it, or choose another --out.")
    recipe = read_json(folder / RECIPE)
    if not isinstance(recipe.get("model"), dict):
        raise CheckpointError(f"{folder / RECIPE}: does not say which model was trained; start a new run.")
    before = from_json(ModelConfig, recipe["model"])
    if replace(before, worlds=()) != replace(model, worlds=()):
        raise CheckpointError(f"{folder}: was started with another model ({before}); use the same --size.")
    if set(before.worlds) != set(worlds):
        raise CheckpointError(
            f"{folder}: was trained on {', '.join(before.worlds)}; give the same worlds to resume, or start a new run."
        )


def _write_recipe(trainer: Trainer) -> None:
    recipe = trainer.folder / RECIPE
    trainer.folder.mkdir(parents=True, exist_ok=True)
    command = {
        "command": shlex.join(["actionparty", *sys.argv[1:]]),
        "processes": trainer.processes.count,
        "from_frames": trainer.frames,
    }
    history = read_json(recipe).get("commands", []) if recipe.exists() else []
    values = {
        "model": to_json(trainer.model),
        "train": to_json(trainer.config),
        ANCESTRY: trainer.ancestry.to_json(),
        "commands": [*history, command],
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": str(trainer.device),
        "bf16": trainer.bf16,
    }
    write_json(recipe, values)
