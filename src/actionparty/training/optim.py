"""Optimiser, learning-rate schedule and moving average of the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from actionparty.config import TrainConfig


def learning_rate(config: TrainConfig, frames: int) -> float:
    """Return the rate after ``frames``: linear warm-up, constant, then a linear fall over the last ``decay_share``."""
    step = config.batch * config.worlds_per_step
    warm = min(1.0, (frames + step) / max(config.warmup_frames, 1))
    start = config.frames * (1 - config.decay_share)
    done = max(0.0, min(1.0, (frames - start) / max(config.frames - start, 1)))
    return config.learning_rate * warm * (1 - (1 - config.final_rate) * done)


class Optimizer:
    """Muon for the matrices inside transformer blocks, AdamW for everything else, behind one ``step``.

    Muon (Jordan et al. 2024, torch.optim.Muon) needed less than half of AdamW's frames here: docs/training-log.md.
    """

    def __init__(self, network: nn.Module, config: TrainConfig) -> None:
        self.config = config
        learned = {name: p for name, p in network.named_parameters() if p.requires_grad}
        blocks = [p for name, p in learned.items() if _is_block_matrix(name, p)]
        others = [p for name, p in learned.items() if not _is_block_matrix(name, p)]
        decay = config.weight_decay
        self.parts: dict[str, torch.optim.Optimizer] = {
            "adamw": torch.optim.AdamW(
                others, lr=config.learning_rate, betas=config.betas, weight_decay=decay, fused=True
            ),
        }
        if blocks:
            self.parts["muon"] = torch.optim.Muon(blocks, lr=config.muon_rate, weight_decay=decay, momentum=0.95)

    def step(self, rate: float) -> None:
        """Move the weights; ``rate`` is AdamW's learning rate, Muon's keeps its ratio to it."""
        rates = {"adamw": rate, "muon": self.config.muon_rate * rate / self.config.learning_rate}
        for name, part in self.parts.items():
            for group in part.param_groups:
                group["lr"] = rates[name]
            part.step()

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self.parts.values():
            part.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """Return all state by name."""
        return {
            f"{part}.{index}.{name}": value
            for part, optimizer in self.parts.items()
            for index, state in optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what ``tensors`` returned."""
        states: dict[str, dict[int, dict[str, Tensor]]] = {part: {} for part in self.parts}
        for key, value in tensors.items():
            part, index, name = key.split(".", 2)
            states[part].setdefault(int(index), {})[name] = value
        for part, optimizer in self.parts.items():
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": states[part], "param_groups": groups})


def _is_block_matrix(name: str, parameter: Tensor) -> bool:
    inside = ".blocks." in name or ".view." in name  # a view has 9 x width inputs: AdamW's equal steps shake it
    return inside and parameter.dim() == 2 and "modulation" not in name


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
