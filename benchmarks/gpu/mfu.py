"""Model FLOP utilisation of a training run: operations a frame, counted on a few of its batches, times its frames/s.

    python -m benchmarks.gpu.mfu runs/gpu datasets/all-packed

Counted are matrix products and attention, forwards and backwards (``counted_operations``); what is only padding counts
too. The speed is the median of the second half of the run's ``log.csv``, so compiling does not count,
but everything else between two steps does. Prints JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from actionparty.checkpoints import read_json
from actionparty.config import ModelConfig, TrainConfig, from_json
from actionparty.data.clips import WorldClips
from actionparty.data.packed import inspect_packed, load_packed
from actionparty.errors import ActionPartyError, DatasetError
from actionparty.model.network import Network
from actionparty.performance.machine import counted_operations
from actionparty.training.objective import Objective
from actionparty.types import WorldSpec

PEAK = 989e12
"""Dense bfloat16 operations a second of one H200 by its datasheet."""
BATCHES = 8


@dataclass(frozen=True)
class Batch:
    """One batch as a run draws it."""

    world: str
    frames: int


def draw_batches(config: TrainConfig, specs: Sequence[WorldSpec], count: int) -> list[Batch]:
    """Draw ``count`` batches with the odds and the sizes of a training with ``config``."""
    tokens = [math.prod(spec.grid) + spec.subjects for spec in specs]
    odds = torch.tensor(
        [config.world_odds.get(spec.name, 1.0) * t**-config.sample_power for spec, t in zip(specs, tokens, strict=True)]
    )
    picks = torch.multinomial(odds, count, replacement=True, generator=torch.Generator().manual_seed(0)).tolist()
    return [Batch(specs[k].name, config.batch_of(math.prod(specs[k].grid), specs[k].subjects)) for k in picks]


def count_flops(model: ModelConfig, config: TrainConfig, world: WorldClips, frames: int, device: torch.device) -> int:
    """Count the operations of learning from one batch of ``frames`` of ``world``."""
    network = Network(model).to(device)
    generator = torch.Generator(device).manual_seed(0)
    clips = world.to(device).draw(frames, model.context, model.memory, generator, config.event_share, config.rare_share)

    def learn() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss, _ = Objective(config)(network, world, clips, generator)
        torch.autograd.backward(loss)

    return int(counted_operations(learn))


def flops_per_frame(run: Path, data: Path, batches: int, device: torch.device) -> float:
    """Return the operations that one target frame costs the training ``run``, averaged over ``batches``."""
    recipe = read_json(run / "run.json")
    model, config = from_json(ModelConfig, recipe["model"]), from_json(TrainConfig, recipe["train"])
    specs = [world.spec for world in inspect_packed(data).worlds if world.spec.name in model.worlds]
    drawn = draw_batches(config, specs, batches)
    tables = load_packed(data, {batch.world for batch in drawn})
    flops = 0
    for table in tables:  # one world at a time is in memory
        world = WorldClips(table)
        mine = [batch for batch in drawn if batch.world == table.spec.name]
        flops += sum(count_flops(model, config, world, batch.frames, device) for batch in mine)
    return flops / sum(batch.frames for batch in drawn)


def frames_per_second(log: Path) -> float:
    """Return the median speed of the second half of a run's log.

    Raises:
        DatasetError: it has no rows yet.
    """
    with log.open(newline="") as file:
        speeds = [float(row["frames_per_second"]) for row in csv.DictReader(file)]
    if not speeds:
        raise DatasetError(f"{log}: no steps are logged yet; train longer.")
    return statistics.median(speeds[len(speeds) // 2 :])


def main() -> None:
    """Print the utilisation of one run."""
    parser = argparse.ArgumentParser(description="Print the model FLOP utilisation of a training run.")
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--peak", type=float, default=PEAK, help="operations a second (default: one H200, bfloat16)")
    parser.add_argument("--batches", type=int, default=BATCHES)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        speed = frames_per_second(args.run / "log.csv")
        flops = flops_per_frame(args.run, args.data, args.batches, device)
    except (ActionPartyError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    shown = {"frames_per_second": speed, "gflop_per_frame": flops / 1e9, "peak_tflops": args.peak / 1e12}
    print(json.dumps({"mfu": speed * flops / args.peak, **shown, "device": device.type}, indent=2))


if __name__ == "__main__":
    main()
