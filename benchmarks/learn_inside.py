"""Learning inside, working outside: policies that learned in a generated world, tested in the real Melting Pot.

The same learner (PPO of Stable-Baselines3, one policy for all subjects, as in examples/learn_sb3.py) learns from as
many actions in the generated world and in the real one; then both, and random actions, play in the real one.
Steps/s are those of learning: acting, the world and the learner's own updates. Prints JSON.

    python -m benchmarks.learn_inside --world commons_harvest__open --actions 150000 --out outputs/inside
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
from benchmarks.returns import Learned, Player, Uniform, interval, returns
from examples.learn_sb3 import learner
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

import actionparty
from actionparty.environment.sb3 import SubjectsVecEnv

BACKENDS = ("generated", "meltingpot")


def learned(backend: str, options: argparse.Namespace) -> tuple[PPO, dict[str, Any]]:
    """Learn in the worlds of ``backend``, or load what was learned there before; return the policy and its costs."""
    folder: Path = options.out / options.world
    saved, costs = folder / f"{backend}.zip", folder / f"{backend}.json"
    if saved.exists() and costs.exists():
        return PPO.load(saved), json.loads(costs.read_text())
    torch.manual_seed(options.seed)
    worlds = actionparty.vector_env(options.world, options.worlds, backend=backend, max_steps=options.max_steps)
    start = time.perf_counter()
    policy = learner(VecMonitor(SubjectsVecEnv(worlds)), options.horizon, options.seed)
    policy.learn(options.actions)
    seconds = time.perf_counter() - start
    worlds.close()
    steps = policy.num_timesteps / worlds.spec.subjects
    found = {
        "actions": policy.num_timesteps,
        "seconds": round(seconds, 1),
        "steps_per_second": round(steps / seconds, 1),
    }
    folder.mkdir(parents=True, exist_ok=True)
    policy.save(saved)
    costs.write_text(json.dumps(found))
    return policy, found


def main() -> None:
    """Learn twice, test three players, print what was found."""
    options = parse()
    learnt = {backend: learned(backend, options) for backend in BACKENDS}
    players: dict[str, Player] = {"random": Uniform()}
    players |= {backend: Learned(policy) for backend, (policy, _) in learnt.items()}
    found: dict[str, Any] = {"world": options.world, "threads": torch.get_num_threads(), "episodes": options.episodes}
    found |= {"max_steps": options.max_steps, "learning": {backend: costs for backend, (_, costs) in learnt.items()}}
    paid = {
        name: returns(options.world, "meltingpot", player, options.episodes, options.max_steps, 10_000)
        for name, player in players.items()
    }
    found["real_return"] = {name: {"mean": float(v.mean()), "ci95": interval(v)} for name, v in paid.items()}
    inside, outside, chance = (float(paid[name].mean()) for name in ("generated", "meltingpot", "random"))
    found["share_of_real_trained"] = inside / outside if outside > 0 else None
    found["share_above_random"] = (inside - chance) / (outside - chance) if outside != chance else None
    print(json.dumps(found, indent=1))


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="commons_harvest__open")
    parser.add_argument("--actions", type=int, default=150_000, help="actions of single subjects to learn from")
    parser.add_argument("--worlds", type=int, default=16, help="how many are stepped at once")
    parser.add_argument("--horizon", type=int, default=32, help="steps between two updates")
    parser.add_argument("--max-steps", type=int, default=100, help="length of an episode")
    parser.add_argument("--episodes", type=int, default=16, help="to test in")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/inside"), help="what was learned stays here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
