"""Learn in a generated world with TorchRL: independent PPO with shared weights, on B worlds of N subjects at once.

    python examples/learn_torchrl.py --world coins --frames 50000 --out outputs/coins-policy.pt

Needs `pip install 'actionparty[rl]'`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "0")  # before torch: waiting threads that spin slow down busy machines

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.collectors import Collector
from torchrl.modules import ProbabilisticActor
from torchrl.objectives import ClipPPOLoss

import actionparty
from actionparty.environment.torchrl import VectorEnv

VIEW, ACTION, REWARD = ("agents", "observation", "view"), ("agents", "action"), ("agents", "reward")
VALUE, DONE, TERMINATED = ("agents", "value"), ("agents", "done"), ("agents", "terminated")


class TileNet(nn.Module):
    """Reads pictures (..., H, W, 3) that are made of 8x8-pixel tiles."""

    def __init__(self, size: tuple[int, ...], outputs: int, width: int = 128) -> None:
        super().__init__()
        cells = (size[0] // 8) * (size[1] // 8)
        self.net = nn.Sequential(
            nn.Conv2d(3, 32, 8, stride=8),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * cells, width),
            nn.ReLU(),
            nn.Linear(width, outputs),
        )

    def forward(self, view: Tensor) -> Tensor:
        pictures = view.flatten(0, -4).movedim(-1, 1).float() / 255
        return self.net(pictures).unflatten(0, view.shape[:-3])


def main() -> None:
    arguments = parse_arguments()
    torch.manual_seed(arguments.seed)
    worlds = actionparty.vector_env(arguments.world, arguments.worlds, max_steps=arguments.max_steps, auto_reset=False)
    env = VectorEnv(worlds)
    env.set_seed(arguments.seed)
    size = worlds.observer.shape("view")
    choose = TensorDictModule(TileNet(size, len(worlds.spec.actions)), [VIEW], [("agents", "logits")])
    actor = ProbabilisticActor(
        choose,
        spec=env.action_spec,
        in_keys=[("agents", "logits")],
        out_keys=[ACTION],
        distribution_class=torch.distributions.Categorical,
        return_log_prob=True,
    )
    critic = TensorDictModule(TileNet(size, 1), [VIEW], [VALUE])
    loss = ClipPPOLoss(
        actor, critic, entropy_coeff=0.01, normalize_advantage=True, normalize_advantage_exclude_dims=(-2,)
    )
    loss.set_keys(reward=REWARD, action=ACTION, value=VALUE, done=DONE, terminated=TERMINATED)
    loss.make_value_estimator(gamma=0.97, lmbda=0.95)
    optimizer = torch.optim.Adam(loss.parameters(), 3e-4)
    collector = Collector(
        env,
        actor,
        frames_per_batch=arguments.horizon * arguments.worlds,
        total_frames=arguments.frames,
        auto_register_policy_transforms=False,
    )
    for batch in collector:
        share_ends(batch, worlds.spec.subjects)
        with torch.no_grad():
            loss.value_estimator(
                batch, params=loss.critic_network_params, target_params=loss.target_critic_network_params
            )
        for _ in range(arguments.epochs):
            for part in batch.reshape(-1).split(arguments.horizon * arguments.worlds // 4):
                terms = loss(part)
                optimizer.zero_grad()
                sum(value for name, value in terms.items() if name.startswith("loss_")).backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                optimizer.step()
        print(f"mean reward of an action {batch['next', *REWARD].mean():.4f}")
    collector.shutdown()
    torch.save(choose.state_dict(), arguments.out)
    print(f"the policy is in {arguments.out}")


def share_ends(batch: TensorDictBase, subjects: int) -> None:
    """Give each subject the end of its world, as rewards and values are per subject."""
    for name in ("done", "terminated"):
        each = batch["next", name][..., None].expand(*batch.shape, subjects, 1)
        batch["next", "agents", name] = each


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="coins")
    parser.add_argument("--worlds", type=int, default=16, help="how many are generated at once")
    parser.add_argument("--frames", type=int, default=50_000, help="frames to learn from, those of all worlds")
    parser.add_argument("--horizon", type=int, default=64, help="steps between two updates")
    parser.add_argument("--max-steps", type=int, default=250, help="length of an episode")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("policy.pt"))
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
