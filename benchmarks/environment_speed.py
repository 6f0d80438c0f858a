"""Measure how fast environments step: B generated worlds at once, and the real simulator, one world in one process.

Observations (by default every subject's own view) are made and paid for in both. A step is one step of one world, so
B worlds that advance by one step are B steps; each has as many actions as the world has subjects. Prints JSON.

python benchmarks/environment_speed.py --world coins --threads 2
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "0")

import numpy as np

import actionparty
from actionparty.environment.vector import VectorRollout

WARM_UP = 5


def measure(worlds: VectorRollout, seconds: float) -> dict[str, Any]:
    """Return the speed with random actions over at least ``seconds`` (and one step), after a warm-up."""
    rng = np.random.default_rng(0)
    shape = (worlds.size, worlds.spec.subjects)
    worlds.reset(0)
    took: list[float] = []
    for number in range(1_000_000):
        actions = rng.integers(len(worlds.spec.actions), size=shape)
        start = time.perf_counter()
        worlds.step(actions)
        if number >= WARM_UP:
            took.append(time.perf_counter() - start)
        if sum(took) >= seconds:
            break
    return {
        "worlds": worlds.size,
        "subjects": worlds.spec.subjects,
        "steps_per_second": round(worlds.size * len(took) / sum(took), 1),
        "ms_p50": round(float(np.percentile(took, 50)) * 1e3, 2),
        "ms_p95": round(float(np.percentile(took, 95)) * 1e3, 2),
        "calls": len(took),
    }


def share_of_observing(worlds: VectorRollout, times: int = 10) -> float:
    """Return the milliseconds in which all observations of the current step are made."""
    start = time.perf_counter()
    for _ in range(times):
        worlds.observer(worlds.frames, worlds.states)
    return round((time.perf_counter() - start) / times * 1e3, 2)


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="coins")
    parser.add_argument("--checkpoint", help="default: the shipped weights that do the world best")
    parser.add_argument("--worlds", type=int, nargs="*", default=[1, 16, 64], help="how many are generated at once")
    parser.add_argument("--observe", nargs="+", default=["view"])
    parser.add_argument("--device", help="default: cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each measurement")
    parser.add_argument("--real", choices=("meltingpot", "arena", "none"), default="meltingpot")
    options = parser.parse_args()
    about = {"world": options.world, "observe": options.observe, "threads": options.threads}
    if options.real != "none":
        real = actionparty.vector_env(options.world, 1, backend=options.real, observe=options.observe)
        row = measure(real, options.seconds) | {"observing_ms": share_of_observing(real)}
        print(json.dumps({**about, "backend": options.real, **row}), flush=True)
        real.close()
    for size in options.worlds:
        import torch  # not needed for real worlds alone

        torch.set_num_threads(options.threads)
        made = actionparty.vector_env(
            options.world, size, checkpoint=options.checkpoint, observe=options.observe, device=options.device
        )
        row = measure(made, options.seconds) | {"observing_ms": share_of_observing(made)}
        print(json.dumps({**about, "backend": "generated", "device": options.device or "cpu", **row}), flush=True)


if __name__ == "__main__":
    main()
