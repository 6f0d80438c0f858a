"""Heads: the reward of each subject, and whether the episode ends, read from the subject tokens of a step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from actionparty.config import ModelConfig


class Heads(nn.Module):
    """Reward of each subject and end of the episode.

    With ``config.deep_heads`` they are read from what the subject saw and chose (its observed token) and what became of
    it (its rendered token), by an MLP; without, from the rendered token alone, by a matrix.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.mix = None
        if config.deep_heads:
            self.norm = nn.LayerNorm(width, elementwise_affine=False)
            self.mix = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, width), nn.GELU())
        self.reward = nn.Linear(width, 2)
        self.end = nn.Linear(width, 1)
        nn.init.zeros_(self.reward.weight)
        nn.init.zeros_(self.reward.bias)

    def forward(self, rendered: Tensor, observed: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return (B, N) logits that a reward is not zero, (B, N) its symlog value then, and (B,) end logits.

        ``rendered`` and ``observed`` are the subject tokens (B, N, width) after rendering and after Observe; ``mask``
        (B, N) is False where a subject is only padding.
        """
        x = rendered
        if self.mix is not None:
            x = self.mix(torch.cat([self.norm(rendered), self.norm(observed.to(rendered.dtype))], -1))
        reward = self.reward(x).float()
        end = self.end(x)[..., 0].float()
        weight = torch.ones_like(end) if mask is None else mask.float()
        return reward[..., 0], reward[..., 1], (end * weight).sum(1) / weight.sum(1).clamp(min=1)
