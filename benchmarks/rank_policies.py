"""Rank policies without the simulator: their returns in the generated world beside those in the real one.

Players of different strength and style: recording policies, random actions, and policies on their way through learning
(``python -m benchmarks.learn_inside`` kept them). Generated episodes start where held-out recordings did, at their
first row. Prints JSON with Spearman's rank correlation, and its interval where episodes are drawn with replacement.

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
from benchmarks.learn_inside import BACKENDS, SNAPSHOTS
from benchmarks.returns import Learned, Player, Scripted, Uniform, interval, returns, starts
from numpy.typing import NDArray
from stable_baselines3 import PPO

from actionparty.environment.make import GENERATED

SCRIPTED = ("random", "seek", "curious", "mixed")
MIXED = 0.5
"""Odds of any action instead of the learned one, in one more player for each learned policy."""


def players(folder: Path) -> dict[str, Player]:
    """Return all players: scripted ones, and those that learned in the worlds that ``folder`` is of.

    Raises:
        SystemExit: nothing was learned there.
    """
    out: dict[str, Player] = {"uniform": Uniform()}
    out |= {name: Scripted(name) for name in SCRIPTED}
    for backend in BACKENDS:
        if not (last := folder / f"{backend}.zip").exists():
            raise SystemExit(f"{last}: not there; make it with python -m benchmarks.learn_inside.")
        early = sorted((folder / "snapshots").glob(f"{backend}_*_steps.zip"), key=_actions)[: SNAPSHOTS - 1]
        out |= {f"{backend}, after {_actions(path):,} actions": Learned(PPO.load(path)) for path in early}
        model = PPO.load(last)
        out |= {f"{backend}, learned": Learned(model), f"{backend}, learned, {MIXED:.0%} random": Learned(model, MIXED)}
    return out


def _actions(snapshot: Path) -> int:
    return int(snapshot.stem.split("_")[-2])


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
    scenes = starts(options.data, options.world, options.episodes, held_out=True)
    found: dict[str, Any] = {"world": options.world, "episodes": options.episodes, "starts": len(scenes)}
    table: dict[str, dict[str, NDArray[np.float64]]] = {}
    for name, player in players(options.learned / options.world).items():
        table[name] = {
            backend: returns(
                options.world,
                backend,
                player,
                options.episodes,
                options.max_steps,
                20_000,
                scenes if backend == GENERATED else None,
            )
            for backend in BACKENDS
        }
    paid = [np.stack([row[backend] for row in table.values()]) for backend in BACKENDS]
    found |= {"max_steps": options.max_steps, "policies": len(table)}
    found |= {"spearman": spearman(*(one.mean(1) for one in paid)), "ci95": resampled(paid[0], paid[1])}
    found["returns"] = {
        name: {backend: {"mean": float(v.mean()), "ci95": interval(v)} for backend, v in row.items()}
        for name, row in table.items()
    }
    print(json.dumps(found, indent=1))


def resampled(a: NDArray[np.float64], b: NDArray[np.float64], draws: int = 1000) -> list[float]:
    """Return the 95% bootstrap interval of ``spearman`` of the mean returns in ``a`` and ``b`` (players, episodes)."""
    rng = np.random.default_rng(0)
    drawn = [
        spearman(*(one[:, rng.integers(one.shape[1], size=one.shape[1])].mean(1) for one in (a, b)))
        for _ in range(draws)
    ]
    return [float(edge) for edge in np.quantile(drawn, (0.025, 0.975))]


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="commons_harvest__open")
    parser.add_argument(
        "--data", type=Path, default=Path("datasets/all-heldout"), help="held-out recordings to start from"
    )
    parser.add_argument("--learned", type=Path, default=Path("outputs/inside"), help="what learn_inside.py wrote")
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--max-steps", type=int, default=100)
    return parser.parse_args()


if __name__ == "__main__":
    main()
