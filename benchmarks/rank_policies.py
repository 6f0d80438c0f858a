"""Rank policies without the simulator: their returns in the generated world beside those in the real one.

Players of different strength and style: recording policies, and mixtures of random actions with policies that learned
(``python -m benchmarks.learn_inside`` made them). Prints JSON with Spearman's rank correlation.

    python -m benchmarks.rank_policies --world commons_harvest__open --learned outputs/inside
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "0")

import numpy as np
from benchmarks.learn_inside import BACKENDS
from benchmarks.returns import Learned, Player, Scripted, Uniform, interval, returns
from numpy.typing import NDArray
from stable_baselines3 import PPO

SCRIPTED = ("random", "seek", "curious", "mixed")
SHARES = (0.0, 0.25, 0.5, 0.75)


def players(folder: Path) -> dict[str, Player]:
    """Return all players: the scripted ones, and the learned ones in ``folder`` with random actions in between."""
    out: dict[str, Player] = {"uniform": Uniform()}
    out |= {name: Scripted(name) for name in SCRIPTED}
    for backend in BACKENDS:
        model = PPO.load(folder / f"{backend}.zip")
        out |= {f"{backend} policy, {share:.0%} random": Learned(model, share) for share in SHARES}
    return out


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (..., n) the ranks of ``values`` (..., n); equal values share the mean of theirs."""
    below = (values[..., None, :] < values[..., :, None]).sum(-1)
    same = (values[..., None, :] == values[..., :, None]).sum(-1)
    return np.asarray(below + (same - 1) / 2, np.float64)


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the rank correlation of ``a`` and ``b`` (n,); 0 where one of them is all the same."""
    x, y = (ranks(v) - (len(v) - 1) / 2 for v in (a, b))
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / scale) if scale else 0.0


def main() -> None:
    """Let everybody play in both worlds; print the returns and how well the ranks agree."""
    options = parse()
    found: dict[str, Any] = {"world": options.world, "episodes": options.episodes, "max_steps": options.max_steps}
    table: dict[str, dict[str, Any]] = {}
    for name, player in players(options.learned / options.world).items():
        table[name] = {}
        for backend in BACKENDS:
            paid = returns(options.world, backend, player, options.episodes, options.max_steps, 20_000)
            table[name][backend] = {"mean": float(paid.mean()), "ci95": interval(paid)}
    means = [np.array([row[backend]["mean"] for row in table.values()]) for backend in BACKENDS]
    found |= {"policies": len(table), "spearman": spearman(*means), "returns": table}
    print(json.dumps(found, indent=1))


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="commons_harvest__open")
    parser.add_argument("--learned", type=Path, default=Path("outputs/inside"), help="what learn_inside.py wrote")
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--max-steps", type=int, default=100)
    return parser.parse_args()


if __name__ == "__main__":
    main()
