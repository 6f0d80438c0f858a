"""The tensors of checkpoints: safetensors and JSON, nothing pickled, written atomically.

*Weights* (what ships): a folder with ``model.safetensors`` (bfloat16, and the worlds' known tiles as bytes) and
``config.json``. *Training state* (what resumes): ``state-FRAMES.safetensors`` with network, optimiser and average, and
``state.json``, which names it and holds the progress.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from actionparty.checkpoints import CONFIG, WEIGHTS, read_json, write_json
from actionparty.config import ModelConfig, from_json, to_json
from actionparty.data.clips import to_pixels, to_unit
from actionparty.errors import ActionPartyError, CheckpointError
from actionparty.model.chances import Chances
from actionparty.model.network import Network
from actionparty.model.palette import WorldTiles
from actionparty.training.optim import MovingAverage, Optimizer

FORMAT = 1
_WORLDS = "observe.world.weight"
_PALETTE, _CHANGES, _LOOKS, _CHANCES = "palette/", "changes/", "looks/", "chances/"
"""Known tiles, what became of them, whom they show, and the chances are saved under these and their world's name."""


def save_weights(
    folder: Path,
    config: ModelConfig,
    weights: dict[str, Tensor],
    about: dict[str, Any],
    palettes: Mapping[str, WorldTiles] | None = None,
    chances: Mapping[str, Chances] | None = None,
) -> None:
    """Write ``weights`` as bfloat16 with their ``config`` and what is known ``about`` them, atomically.

    ``palettes`` are the known tiles of each world, ``chances`` how likely what comes by chance is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.to(torch.bfloat16).contiguous() for k, v in weights.items()}
    for world, seen in (palettes or {}).items():
        tensors |= {_PALETTE + world: to_pixels(seen.tiles), _CHANGES + world: seen.changes.int()}
        tensors[_LOOKS + world] = seen.looks.short()
    tensors |= {_CHANCES + world: odds.table.float() for world, odds in (chances or {}).items()}
    save_tensors(folder / WEIGHTS, tensors)
    write_json(folder / CONFIG, {"format": FORMAT, "model": to_json(config), "about": about})


def load_network(folder: Path) -> Network:
    """Build the network of a checkpoint folder, in float32, ready to sample.

    Raises:
        CheckpointError: a file is missing or damaged, of another format, or its tensors have other shapes.
    """
    about = read_json(folder / CONFIG)
    if about.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder / CONFIG}: format {about.get('format')!r}, but this version reads {FORMAT}. "
            "Use the actionparty version that wrote it, or train again."
        )
    try:
        config = from_json(ModelConfig, about["model"])
    except (ActionPartyError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / CONFIG}: not a model configuration ({error}).") from error
    network = Network(config)
    tensors = load_tensors(folder / WEIGHTS)
    tiles, changes, looks = (_part(tensors, kind) for kind in (_PALETTE, _CHANGES, _LOOKS))
    network.palettes = {world: WorldTiles.unchanging(to_unit(pixels)) for world, pixels in tiles.items()}
    for world, pairs in changes.items():
        network.palettes[world] = replace(network.palettes[world], changes=pairs.long(), looks=looks[world].long())
    network.chances = {world: Chances(table) for world, table in _part(tensors, _CHANCES).items()}
    learned = {k: v for k, v in tensors.items() if not k.startswith((_PALETTE, _CHANGES, _LOOKS, _CHANCES))}
    fill(network, learned, folder / WEIGHTS)
    return network.eval()


def start_from(network: Network, folder: Path) -> list[str]:
    """Copy the weights in ``folder`` whose names ``network`` has too; return the names that stay fresh.

    For growing a model: new parts start as they were initialised. Embeddings of worlds go by name, and a world that
    was not trained starts as the unknown one.

    Raises:
        CheckpointError: the weights can't be read, have other shapes, or share no name with the network.
    """
    tensors, wanted = load_tensors(folder / WEIGHTS), network.state_dict()
    known = {name: value for name, value in tensors.items() if name in wanted}
    if not known:
        raise CheckpointError(f"{folder / WEIGHTS}: has no weights in common with this model.")
    if _WORLDS in known:
        before: list[str] = read_json(folder / CONFIG).get("model", {}).get("worlds", [])
        rows = [0, *(before.index(name) + 1 if name in before else 0 for name in network.config.worlds)]
        if len(before) + 1 != len(known[_WORLDS]):
            raise CheckpointError(f"{folder}: {CONFIG} names {len(before)} worlds, but {WEIGHTS} holds another number.")
        known[_WORLDS] = known[_WORLDS][rows]
    fresh = {name: value for name, value in wanted.items() if name not in known}
    fill(network, known | fresh, folder / WEIGHTS)
    return sorted(fresh)


def fill(network: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Copy ``tensors`` into ``network``; every name and shape must fit."""
    wanted = network.state_dict()
    missing, extra = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing or extra:
        raise CheckpointError(f"{source}: does not fit this model; missing {missing[:3]}, unexpected {extra[:3]}.")
    for name, value in tensors.items():
        if value.shape != wanted[name].shape:
            raise CheckpointError(
                f"{source}: {name} has shape {tuple(value.shape)}, but the model needs {tuple(wanted[name].shape)}."
            )
    network.load_state_dict({k: v.to(wanted[k].dtype) for k, v in tensors.items()})


def save_state(
    folder: Path,
    network: nn.Module,
    optimizer: Optimizer,
    average: MovingAverage,
    progress: dict[str, Any],
) -> None:
    """Write everything that an exact resume needs.

    The JSON is written last and names its tensors, so a crash in between leaves the state from before.
    """
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.weights.items()}
    tensors |= {f"optimizer.{k}": v for k, v in optimizer.tensors().items()}
    folder.mkdir(parents=True, exist_ok=True)
    name = f"state-{progress['frames']}.safetensors"
    save_tensors(folder / name, {k: v.contiguous() for k, v in tensors.items()})
    write_json(folder / "state.json", {"format": FORMAT, "tensors": name, "progress": progress})
    for old in folder.glob("state-*.safetensors"):
        if old.name != name:
            old.unlink()


def load_state(folder: Path, network: nn.Module, optimizer: Optimizer, average: MovingAverage) -> dict[str, Any]:
    """Restore what ``save_state`` wrote, in place; return the progress.

    Raises:
        CheckpointError: a file is missing or damaged, of another format, or of another model.
    """
    values = read_json(folder / "state.json")
    if values.get("format") != FORMAT:
        raise CheckpointError(f"{folder / 'state.json'}: format {values.get('format')!r}, expected {FORMAT}.")
    if not isinstance(values.get("progress"), dict) or not isinstance(values.get("tensors"), str):
        raise CheckpointError(f"{folder / 'state.json'}: not a training state; start a new run.")
    source = folder / values["tensors"]
    tensors = load_tensors(source)
    fill(network, _part(tensors, "network."), source)
    wanted = average.weights
    average.weights = {k: v.to(wanted[k].device, copy=True) for k, v in _part(tensors, "average.").items()}
    optimizer.restore(_part(tensors, "optimizer."))
    progress: dict[str, Any] = values["progress"]
    return progress


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(tensors, temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(f"{path}: could not be written ({error}). Is the disk full?") from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; ``CheckpointError`` where it is missing, damaged or something else."""
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file.") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error}).") from error
