"""Optimiser, learning-rate schedule and moving average of the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from actionparty.config import TrainConfig


def learning_rate(config: TrainConfig, frames: int) -> float:
    """Return the rate after ``frames``: linear warm-up, constant, then a linear fall over the last ``decay_share``."""
    warm = min(1.0, (frames + config.batch) / max(config.warmup_frames, 1))
    start = config.frames * (1 - config.decay_share)
    done = max(0.0, min(1.0, (frames - start) / max(config.frames - start, 1)))
    return config.learning_rate * warm * (1 - (1 - config.final_rate) * done)


def make_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW without weight decay on vectors (norms, biases) and embeddings."""
    embeddings = {id(m.weight) for m in network.modules() if isinstance(m, nn.Embedding)}
    matrices = [p for p in network.parameters() if p.dim() > 1 and id(p) not in embeddings]
    others = [p for p in network.parameters() if p.dim() <= 1 or id(p) in embeddings]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


class MovingAverage:
    """Exponential moving average of a network's weights; follows faster while young."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Tensor] = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def follow(self, network: nn.Module, step: int) -> None:
        """Move towards ``network`` after optimiser step ``step`` (from 1)."""
        share = 1 - min(self.decay, step / (step + 10))
        for name, value in network.state_dict().items():
            self.weights[name].lerp_(value, share)
