"""The flow: the only place that knows the time convention. tau = 0 is pure noise, tau = 1 is clean data.

z = (1 - tau) noise + tau clean; networks predict the clean end, and the loss is weighted as a velocity error
(rectified flow, arXiv 2209.03003, with x-prediction). Noise is always an argument.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_NEAREST = 0.2
"""1 - tau is not taken smaller than this in the loss weight."""


def _over(time: Tensor, like: Tensor) -> Tensor:
    return time.reshape(-1, *([1] * (like.dim() - 1)))


def interpolate(clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Return the noisy sample at ``time`` (B,) between ``noise`` and ``clean`` (B, ...)."""
    t = _over(time, clean)
    return (1 - t) * noise + t * clean


def loss_weight(time: Tensor) -> Tensor:
    """(B,) weight that turns a squared error of the clean end into one of the velocity."""
    return 1 / (1 - time).clamp(min=_NEAREST) ** 2


def sample_time(n: int, generator: torch.Generator, *, zero_share: float, mean: float, std: float) -> Tensor:
    """Draw ``n`` flow times: exactly 0 in ``zero_share`` of them, else a logistic-normal."""
    device = generator.device
    time = torch.sigmoid(torch.randn(n, generator=generator, device=device) * std + mean)
    start = torch.rand(n, generator=generator, device=device) < zero_share
    return torch.where(start, torch.zeros_like(time), time)


def denoise(predict: Callable[[Tensor, Tensor], Tensor], noise: Tensor, steps: int) -> Tensor:
    """Walk from ``noise`` (B, ...) to clean data in ``steps`` Euler steps of equal length.

    ``predict(noisy, time)`` returns the clean end; the last step lands on its last prediction exactly.
    """
    z = noise
    for k in range(steps):
        time = torch.full((noise.shape[0],), k / steps, device=noise.device)
        clean = predict(z, time).float()
        z = clean if k == steps - 1 else z + (clean - z) / (steps - k)
    return z
