"""Engines side by side: how fast each runs one rollout, and how far its answers are from PyTorch's.

All engines run in this one process, one step of each after the other, from where the same rollout stands, under the
same actions: what else the machine does slows all alike, and ratios of steps that were taken side by side show it
least. With one thread what counts is the time in which this process computed: waiting for its turn is not in it.

python -m benchmarks.engines --pairs 60 --write outputs/engines.md
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from actionparty.checkpoints import find_checkpoint
from actionparty.config import ENGINES
from actionparty.engines.check import differences
from actionparty.engines.choice import lacks
from actionparty.errors import InvalidInputError
from actionparty.interfaces.commands_bench import usable_threads
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.scenes import load_scene, scene_paths
from actionparty.training.checkpoint import load_network

WORLDS = ("clean_up", "commons_harvest__open", "collaborative_cooking__crowded")
WARM_UP = 5


@dataclass(frozen=True)
class Speed:
    """What was measured of one engine in one world."""

    world: str
    engine: str
    ms_p50: float
    """As the clock says"""
    own_p50: float
    """In which this process computed"""
    own_p95: float
    ratio: float
    """Median of PyTorch's time over this engine's, of steps taken one after the other"""
    low: float
    high: float
    """The middle half of those ratios"""


def measure(world: str, weights: str, engines: Sequence[str], pairs: int, batch: int = 1) -> list[Speed]:
    """Step a rollout by each of ``engines`` in turn, ``pairs`` times; the first is what others are compared to."""
    folder = find_checkpoint(weights)
    network, scene = load_network(folder), load_scene(scene_paths(folder, world)[0])
    rollouts = {name: BatchRollout(network, engine=name) for name in engines}
    for rollout in rollouts.values():
        rollout.reset([scene] * batch, list(range(batch)))
    times = stepped_in_turn(rollouts, pairs)
    return [_speed(world, name, times[engines[0]], times[name]) for name in engines]


def stepped_in_turn(rollouts: Mapping[str, BatchRollout], pairs: int) -> dict[str, NDArray[np.float64]]:
    """Step all of ``rollouts`` in turn, after a warm-up ``pairs`` times, under the same random actions.

    All are put back to where the first stands before every step, so that they have the same cells to render. Returns
    the seconds (pairs, 2) that each took, by the clock and computed.
    """
    names = list(rollouts)
    first, rng = rollouts[names[0]], np.random.default_rng(0)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for step in range(WARM_UP + pairs):
        actions = rng.integers(len(first.spec.actions), size=(first.size, first.spec.subjects))
        before = first._started()
        for name in names if step % 2 else reversed(names):
            rollouts[name]._table = before
            start, own = time.perf_counter(), time.process_time()
            rollouts[name].step(actions)
            taken[name].append((time.perf_counter() - start, time.process_time() - own))
    return {name: np.array(values[WARM_UP:]) for name, values in taken.items()}


def _speed(world: str, name: str, base: NDArray[np.float64], own: NDArray[np.float64]) -> Speed:
    """``base`` and ``own`` are (steps, 2) seconds, by the clock and computed."""
    clock = 1 if torch.get_num_threads() == 1 else 0
    p50, own_p50, own_p95 = np.median(own[:, 0]), np.median(own[:, 1]), np.percentile(own[:, 1], 95)
    low, ratio, high = np.percentile(base[:, clock] / own[:, clock], [25, 50, 75])
    milliseconds = (round(float(value) * 1e3, 1) for value in (p50, own_p50, own_p95))
    return Speed(world, name, *milliseconds, *(round(float(value), 2) for value in (ratio, low, high)))


def apart(weights: str, engines: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the largest difference of each call of each engine, see ``differences``, over grids of three sizes."""
    network = load_network(find_checkpoint(weights))
    found: dict[str, dict[str, float]] = {}
    for name in engines:
        engine = BatchRollout(network, engine=name).engine
        sizes = [((5, 9), 2), ((9, 13), 9), ((21, 30), 7)]
        measured = [differences(engine, grid, count, 20, seed=seed) for seed, (grid, count) in enumerate(sizes)]
        found[name] = {call: max(one[call] for one in measured) for call in measured[0]}
    return found


def report(speeds: Sequence[Speed], differing: dict[str, dict[str, float]]) -> str:
    """Return both tables as Markdown."""
    heads = "world", "engine", "ms by the clock, p50", "ms computed, p50", "p95", "times as fast as torch (middle half)"
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for s in speeds:
        ratio = f"{s.ratio:.2f} ({s.low:.2f} to {s.high:.2f})"
        lines.append(f"| `{s.world}` | {s.engine} | {s.ms_p50} | {s.own_p50} | {s.own_p95} | {ratio} |")
    calls = list(next(iter(differing.values()), {}))
    lines += ["", f"| engine | {' | '.join(calls)} |", "|---" * (1 + len(calls)) + "|"]
    lines += [f"| {name} | {' | '.join(f'{row[call]:.1e}' for call in calls)} |" for name, row in differing.items()]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked for, print it, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", action="append", help="may be given several times; default: three")
    parser.add_argument("--weights", default="all")
    parser.add_argument("--engine", action="append", help="compared to torch; default: all that are installed")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", type=Path)
    chosen = parser.parse_args(arguments)
    try:
        torch.set_num_threads(usable_threads(chosen.threads))
    except InvalidInputError as error:
        parser.exit(2, f"error: {error}\n")
    engines = [name for name in chosen.engine or ENGINES if name != "torch" and lacks(name) is None]
    speeds = []
    for world in chosen.world or WORLDS:
        speeds += measure(world, chosen.weights, ["torch", *engines], chosen.pairs, chosen.batch)
    what = f"{platform.machine()}, {chosen.threads} threads, weights {chosen.weights}, {chosen.pairs} pairs"
    text = f"{what}, batch {chosen.batch}\n\n{report(speeds, apart(chosen.weights, engines))}"
    publish(text, chosen.write)


def publish(text: str, path: Path | None) -> None:
    """Print ``text``, and write it to ``path``, in a folder that may not be there yet."""
    print(text)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
