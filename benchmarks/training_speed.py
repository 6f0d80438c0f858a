"""Measure how fast a model trains, and how much of the machine that uses.

One JSON object per world and size: frames per second, milliseconds per step, model-FLOPs utilisation (MFU), and the two
floors under the time of a step: its operations at the speed of a large matrix product on this machine, and its bytes at
the speed of a large copy. Operations are counted by PyTorch while a step runs (forward and backward, without the
optimiser); bytes are what the step saves for its backward pass, written and read once, and the weights with their
gradients and optimiser state. Clips come from the held-out recordings in the package, so nothing has to be recorded.

python benchmarks/training_speed.py --size small --world clean_up --threads 2
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
from torch import Tensor

from actionparty.checkpoints import find_checkpoint, shipped_names
from actionparty.config import MODEL_PRESETS, TrainConfig
from actionparty.data.clips import WorldClips
from actionparty.data.dataset import load_episodes
from actionparty.evaluation.export import HELD_OUT
from actionparty.performance.machine import Machine, counted_operations, measure_machine, timed
from actionparty.training.trainer import Trainer

STATE_BYTES = 2 * (4 + 4 + 4)
"""Of each weight: itself, its gradient and its momentum in float32, each read and written once in a step."""


def saved_bytes(step: Callable[[], object]) -> int:
    """Return how many bytes ``step`` keeps for its backward pass, each storage counted once."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step()
    return sum(kept.values())


def measure(trainer: Trainer, machine: Machine, steps: int) -> dict[str, object]:
    """Return the speed of ``trainer``'s steps and the floors under it."""
    first = trainer.frames
    operations = counted_operations(trainer.step)
    frames = trainer.frames - first
    activations = saved_bytes(trainer.step)
    seconds = timed(trainer.step, trainer.device, steps)
    traffic = 2 * activations + STATE_BYTES * trainer.network.parameters_count
    return {
        "device": str(trainer.device),
        "threads": torch.get_num_threads(),
        "bf16": trainer.bf16,
        "parameters": trainer.network.parameters_count,
        "frames_per_step": frames,
        "frames_per_second": round(frames / seconds, 2),
        "ms_per_step": round(seconds * 1e3, 1),
        "gflop_per_frame": round(operations / frames / 1e9, 4),
        "mfu": round(operations / seconds / machine.operations, 3),
        "floor_ms_operations": round(operations / machine.operations * 1e3, 1),
        "floor_ms_bytes": round(traffic / machine.bandwidth * 1e3, 1),
        "peak_gflops": round(machine.operations / 1e9),
        "bandwidth_gb_s": round(machine.bandwidth / 1e9, 1),
    }


def clips_of(world: str) -> WorldClips:
    """Return the clips of a world's held-out recordings in the package; these are measured on, not learned from."""
    for folder in map(find_checkpoint, shipped_names()):
        if world in {path.name for path in (folder / HELD_OUT).iterdir()}:
            return WorldClips(load_episodes(folder / HELD_OUT, [world]))
    raise SystemExit(f"{world}: no weights in the package bring recordings of it")


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", choices=sorted(MODEL_PRESETS), help="default: all")
    parser.add_argument("--world", action="append", help="default: collaborative_cooking__crowded")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batch-tokens", type=int, default=6144)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = TrainConfig(batch=options.batch, batch_tokens=options.batch_tokens, compile=options.compile)
    machine = None
    for world in options.world or ["collaborative_cooking__crowded"]:
        clips = clips_of(world)
        for size in options.size or sorted(MODEL_PRESETS):
            trainer = Trainer(Path("none"), replace(MODEL_PRESETS[size], worlds=(world,)), config, {world: clips})
            machine = machine or measure_machine(trainer.device, torch.bfloat16 if trainer.bf16 else torch.float32)
            result = measure(trainer, machine, options.steps)
            print(json.dumps({"world": world, "size": size, "compile": options.compile} | result), flush=True)


if __name__ == "__main__":
    main()
