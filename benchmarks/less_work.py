"""Less work per frame, measured one by one: what a step takes when one of the savings is left out, or goes further.

All variants run in this one process, one step of each after the other, from where the same rollout stands, under the
same actions: what else the machine does slows all alike, and ratios of steps taken side by side show it least.

python -m benchmarks.less_work --pairs 40
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.engines import WORLDS, publish, stepped_in_turn
from numpy.typing import NDArray
from torch import Tensor

from actionparty.checkpoints import find_checkpoint
from actionparty.config import AUTO, ENGINES, RolloutConfig
from actionparty.engines.engine import Engine
from actionparty.model.observe import Observed
from actionparty.model.render import CellChoice, Rendered, Resolved
from actionparty.model.update import UpdateMemory
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.scenes import load_scene, scene_paths
from actionparty.training.checkpoint import load_network

SHIPPED = "as shipped"
FORGETFUL = "keys made anew in every update step"
VARIANTS: dict[str, dict[str, Any]] = {
    SHIPPED: {},
    FORGETFUL: {},
    "every cell rendered": {"gate_ceiling": -1.0},
    "1 update step": {"update_steps": 1},
    "4 update steps": {"update_steps": 4},
    "2 render steps": {"render_steps": 2},
    "known tiles not copied": {"copy_tiles": False},
}


class Watched:
    """An engine that counts the cells it renders, and may make the keys of what it observed anew for every update."""

    def __init__(self, inner: Engine, *, forgetful: bool) -> None:
        self._inner, self._forgetful = inner, forgetful
        self.cells: list[int] = []
        """Of each call of ``render``"""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def update(self, observed: Observed, memory: UpdateMemory, noisy: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """As the inner engine."""
        known = self._inner.remember(observed) if self._forgetful else memory
        return self._inner.update(observed, known, noisy, time)

    def render(self, observed: Observed, resolved: Resolved, choice: CellChoice, *others: Any) -> Rendered:
        """As the inner engine."""
        self.cells.append(int(choice.mask.sum()))
        return self._inner.render(observed, resolved, choice, *others)


@dataclass(frozen=True)
class Cost:
    """What was measured of one variant in one world."""

    world: str
    variant: str
    ms: float
    """Milliseconds of a step by the clock, decode included: median"""
    ratio: float
    """How many times as long as what ships a step takes: median of steps taken side by side"""
    low: float
    high: float
    """The middle half of those ratios"""
    cells: float
    """Cells rendered in a call of the network: mean"""


def measure(world: str, weights: str, engine: str, pairs: int) -> list[Cost]:
    """Step a rollout of each variant in turn, ``pairs`` times, all from where the first stands."""
    folder = find_checkpoint(weights)
    network, scene = load_network(folder), load_scene(scene_paths(folder, world)[0])
    rollouts, watched = {}, {}
    for name, changed in VARIANTS.items():
        rollouts[name] = rollout = BatchRollout(network, RolloutConfig(engine=engine, **changed))
        rollout.reset([scene], [0])
        watched[name] = rollout._engine = Watched(rollout.engine, forgetful=name == FORGETFUL)
    seconds = {name: both[:, 0] for name, both in stepped_in_turn(rollouts, pairs).items()}
    return [_cost(world, name, seconds[SHIPPED], seconds[name], watched[name].cells) for name in rollouts]


def _cost(world: str, name: str, base: NDArray[np.float64], own: NDArray[np.float64], cells: Sequence[int]) -> Cost:
    low, ratio, high = (round(float(value), 2) for value in np.percentile(own / base, [25, 50, 75]))
    return Cost(world, name, round(float(np.median(own)) * 1e3, 1), ratio, low, high, round(float(np.mean(cells)), 1))


def markdown(costs: Sequence[Cost]) -> str:
    """Return a Markdown table, a line for each measurement."""
    lines = [
        "| world | variant | cells rendered | ms a frame | times what ships takes (middle half) |",
        "|---" * 5 + "|",
    ]
    lines += [
        f"| `{c.world}` | {c.variant} | {c.cells} | {c.ms} | {c.ratio:.2f} ({c.low:.2f} to {c.high:.2f}) |"
        for c in costs
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked for, print it, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", nargs="+", default=list(WORLDS))
    parser.add_argument("--weights", default="all")
    parser.add_argument("--engine", choices=(AUTO, *ENGINES), default=AUTO)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--write", type=Path)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    text = markdown([c for world in chosen.world for c in measure(world, chosen.weights, chosen.engine, chosen.pairs)])
    publish(text, chosen.write)


if __name__ == "__main__":
    main()
