"""Measure how fast a world is generated: one rollout and a batch, decoding to pixels included.

Prints one JSON object per world.

python benchmarks/rollout_speed.py --checkpoint starter --world collaborative_cooking__crowded --threads 2
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time

os.environ.setdefault("GOMP_SPINCOUNT", "0")

import numpy as np
import torch

from actionparty.checkpoints import find_checkpoint
from actionparty.config import RolloutConfig
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.scenes import load_scene, scene_paths, scene_worlds
from actionparty.training.checkpoint import load_network

WARM_UP = 10


def measure(rollout: BatchRollout, steps: int, rng: np.random.Generator) -> list[float]:
    """Return the seconds of each of ``steps`` steps with random actions, after a warm-up."""
    shape = (rollout.size, rollout.spec.subjects)
    seconds = []
    for _ in range(WARM_UP + steps):
        actions = rng.integers(len(rollout.spec.actions), size=shape)
        start = time.perf_counter()
        rollout.step(actions)
        seconds.append(time.perf_counter() - start)
    return seconds[WARM_UP:]


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="starter")
    parser.add_argument("--world", action="append", help="default: every world with scenes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = find_checkpoint(options.checkpoint)
    network, settings = load_network(folder), RolloutConfig()
    for world in options.world or scene_worlds(folder):
        scenes = [load_scene(path) for path in scene_paths(folder, world)]
        rng = np.random.default_rng(0)
        single = BatchRollout(network, settings)
        single.reset(scenes[:1], [0])
        seconds = measure(single, options.steps, rng)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        many = BatchRollout(network, settings)
        many.reset([scenes[k % len(scenes)] for k in range(options.batch)], list(range(options.batch)))
        batched = measure(many, max(10, options.steps // options.batch), rng)
        spec = single.spec
        result = {
            "device": "cpu",
            "threads": options.threads,
            "world": world,
            "subjects": spec.subjects,
            "cells": spec.grid[0] * spec.grid[1],
            "calls_per_frame": 1 + settings.update_steps + settings.render_steps,
            "fps_single": round(len(seconds) / sum(seconds), 1),
            "fps_batched": round(options.batch * len(batched) / sum(batched), 1),
            "batch": options.batch,
            "ms_p50": round(float(np.percentile(seconds, 50)) * 1e3, 2),
            "ms_p95": round(float(np.percentile(seconds, 95)) * 1e3, 2),
            "peak_mb": round(peak),
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
