"""Learn in a generated world with Stable-Baselines3 (PPO, one policy for all), then test in it or in the real one.

    python examples/learn_sb3.py --world coins --steps 200000 --out outputs/coins-policy.zip
    python examples/learn_sb3.py --world coins --steps 0 --policy outputs/coins-policy.zip --test-in meltingpot

Needs `pip install 'actionparty[rl]'`, and `actionparty[meltingpot]` to test in the real world.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "0")  # before torch: waiting threads that spin slow down busy machines

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecMonitor
from torch import Tensor, nn

import actionparty
from actionparty.environment.sb3 import SubjectsVecEnv


class TileNet(BaseFeaturesExtractor):
    """Reads a picture that is made of 8x8-pixel tiles: one vector per tile, then what is beside what."""

    def __init__(self, observation_space: spaces.Dict, width: int = 128) -> None:
        super().__init__(observation_space, width)
        rows, columns = (size // 8 for size in observation_space["view"].shape[1:])  # SB3 puts the channels first
        self.read = nn.Sequential(
            nn.Conv2d(3, 24, 8, stride=8),
            nn.ReLU(),
            nn.Conv2d(24, 16, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * rows * columns, width),
            nn.ReLU(),
        )

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        return self.read(observations["view"])


def learner(env: VecMonitor, horizon: int, seed: int) -> PPO:
    """Return a policy for all subjects that learns after every `horizon` steps."""
    return PPO(
        "MultiInputPolicy",
        env,
        n_steps=horizon,
        batch_size=horizon * env.num_envs // 4,
        n_epochs=4,
        learning_rate=1e-3,
        gamma=0.97,
        ent_coef=0.01,
        policy_kwargs={"features_extractor_class": TileNet, "net_arch": []},
        seed=seed,
    )


def main() -> None:
    arguments = parse_arguments()
    torch.manual_seed(arguments.seed)
    worlds = actionparty.vector_env(arguments.world, arguments.worlds, max_steps=arguments.max_steps)
    env = VecMonitor(SubjectsVecEnv(worlds))
    if arguments.policy:
        policy = PPO.load(arguments.policy, env)
    else:
        policy = learner(env, arguments.horizon, arguments.seed)
    if arguments.steps:
        policy.learn(arguments.steps)
        policy.save(arguments.out)
        print(f"learned from {policy.num_timesteps} actions in the generated world; the policy is in {arguments.out}")
    test(policy, arguments)


def test(policy: PPO, arguments: argparse.Namespace) -> None:
    """Play whole episodes and print the mean return of a subject, beside that of random actions."""
    world = actionparty.vector_env(
        arguments.world, arguments.test_worlds, backend=arguments.test_in, max_steps=arguments.max_steps
    )
    rng = np.random.default_rng(arguments.seed)
    for name in ("random", "learned"):
        observations, total = world.reset(arguments.seed), np.zeros((world.size, world.spec.subjects))
        for _ in range(arguments.max_steps):
            if name == "random":
                actions = rng.integers(len(world.spec.actions), size=total.shape)
            else:
                flat = {kind: values.reshape(-1, *values.shape[2:]) for kind, values in observations.items()}
                actions = policy.predict(flat)[0].reshape(total.shape)
            step = world.step(actions)
            observations, total = step.observations, total + step.rewards
        print(f"{arguments.test_in}: {name} policy, mean return of a subject {total.mean():.3f}")
    world.close()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="coins")
    parser.add_argument("--worlds", type=int, default=16, help="how many are generated at once")
    parser.add_argument("--steps", type=int, default=200_000, help="actions of single subjects to learn from")
    parser.add_argument("--horizon", type=int, default=32, help="steps between two updates")
    parser.add_argument("--max-steps", type=int, default=250, help="length of an episode")
    parser.add_argument("--policy", type=Path, help="go on with this one")
    parser.add_argument("--out", type=Path, default=Path("policy.zip"))
    parser.add_argument("--test-in", choices=("generated", "meltingpot"), default="generated")
    parser.add_argument("--test-worlds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
