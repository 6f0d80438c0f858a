"""Learning inside, working outside: policies that learned in a generated world, tested in the real Melting Pot.

The same learner (PPO of Stable-Baselines3, one policy for all subjects, as in examples/learn_sb3.py) learns from as
many actions in the generated world and in the real one; then both, and random actions, play in the real one. Generated
episodes start where recorded ones of the training seeds did, at their first row. Steps/s are those of learning (acting,
the world and the learner's own updates), and those of the world alone, new episodes included. Prints JSON.

    python -m benchmarks.learn_inside --world commons_harvest__open --data datasets/all --out outputs/inside
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
from benchmarks.returns import Learned, Player, Uniform, interval, returns, starts
from examples.learn_sb3 import learner
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.vec_env import VecMonitor

import actionparty
from actionparty.checkpoints import read_json, write_json
from actionparty.environment.make import GENERATED
from actionparty.environment.sb3 import SubjectsVecEnv
from actionparty.environment.vector import VectorRollout

BACKENDS = (GENERATED, "meltingpot")
SNAPSHOTS = 4
"""Policies kept on the way, evenly spaced (benchmarks/rank_policies.py ranks them)."""
_ASKED = ("actions", "worlds", "horizon", "max_steps", "threads", "seed")


def learned(backend: str, options: argparse.Namespace) -> tuple[PPO, dict[str, Any]]:
    """Learn in the worlds of ``backend``, or load what was learned there before; return the policy and its costs.

    Raises:
        SystemExit: what was learned before was asked for by other options.
    """
    folder: Path = options.out / options.world
    saved, costs = folder / f"{backend}.zip", folder / f"{backend}.json"
    asked = {name: getattr(options, name) for name in _ASKED}
    if saved.exists() and costs.exists():
        found = read_json(costs)
        if found["asked"] != asked:
            raise SystemExit(
                f"{costs}: learned with {found['asked']}, not {asked}: choose another --out, or remove it."
            )
        return PPO.load(saved), found
    torch.manual_seed(options.seed)
    scenes = starts(options.data, options.world, options.worlds, held_out=False) if backend == GENERATED else None
    worlds = actionparty.vector_env(options.world, options.worlds, scenes, backend=backend, max_steps=options.max_steps)
    spent = stepping_seconds(worlds)
    start = time.perf_counter()
    policy = learner(VecMonitor(SubjectsVecEnv(worlds)), options.horizon, options.seed)
    every = max(1, options.actions // (SNAPSHOTS * options.worlds * worlds.spec.subjects))
    policy.learn(options.actions, CheckpointCallback(every, str(folder / "snapshots"), backend))
    seconds = time.perf_counter() - start
    worlds.close()
    steps = policy.num_timesteps / worlds.spec.subjects
    found = {
        "asked": asked,
        "actions": policy.num_timesteps,
        "seconds": round(seconds, 1),
        "steps_per_second": round(steps / seconds, 1),
        "steps_per_second_of_the_world": round(steps / sum(spent), 1),
    }
    folder.mkdir(parents=True, exist_ok=True)
    policy.save(saved)
    write_json(costs, found)
    return policy, found


def stepping_seconds(worlds: VectorRollout) -> list[float]:
    """Return a list that grows by the seconds of every step and reset of ``worlds`` from now on."""
    spent: list[float] = []

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                spent.append(time.perf_counter() - start)

        return run

    for name in ("reset", "step"):
        setattr(worlds, name, timed(getattr(worlds, name)))
    return spent


def main() -> None:
    """Learn twice, test three players, print what was found."""
    options = parse()
    torch.set_num_threads(options.threads)
    learnt = {backend: learned(backend, options) for backend in BACKENDS}
    players: dict[str, Player] = {"random": Uniform()}
    players |= {backend: Learned(policy) for backend, (policy, _) in learnt.items()}
    found: dict[str, Any] = {"world": options.world, "episodes": options.episodes}
    found |= {"learning": {backend: costs for backend, (_, costs) in learnt.items()}}
    paid = {
        name: returns(options.world, "meltingpot", player, options.episodes, options.max_steps, 10_000)
        for name, player in players.items()
    }
    found["real_return"] = {name: {"mean": float(v.mean()), "ci95": interval(v)} for name, v in paid.items()}
    inside, outside, chance = (float(paid[name].mean()) for name in (*BACKENDS, "random"))
    found["share_of_real_trained"] = inside / outside if outside > 0 else None
    found["share_above_random"] = (inside - chance) / (outside - chance) if outside != chance else None
    print(json.dumps(found, indent=1))


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="commons_harvest__open")
    parser.add_argument("--data", type=Path, default=Path("datasets/all"), help="recordings to start from")
    parser.add_argument("--actions", type=int, default=150_000, help="actions of single subjects to learn from")
    parser.add_argument("--worlds", type=int, default=16, help="how many are stepped at once")
    parser.add_argument("--horizon", type=int, default=32, help="steps between two updates")
    parser.add_argument("--max-steps", type=int, default=100, help="length of an episode")
    parser.add_argument("--episodes", type=int, default=16, help="to test in")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/inside"), help="what was learned stays here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
