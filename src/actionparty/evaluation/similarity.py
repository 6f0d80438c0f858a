"""How alike two pictures are: PSNR and SSIM in NumPy. Knows frames only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.float64]
PSNR_CAP = 100.0
"""Decibels given to equal frames, whose PSNR is infinite."""
_WINDOW = 7
_LUMA = np.array([0.299, 0.587, 0.114])


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Planes:
    """Return the peak signal-to-noise ratio (B,) of frames (B, H, W, 3) in decibels, at most ``PSNR_CAP``."""
    error = ((a.astype(np.float64) - b) ** 2).mean((1, 2, 3))
    with np.errstate(divide="ignore"):
        return np.asarray(np.minimum(10 * np.log10(255.0**2 / error), PSNR_CAP))


def _window_means(planes: Planes) -> Planes:
    padded = np.pad(planes, ((0, 0), (1, 0), (1, 0))).cumsum(1).cumsum(2)
    k = _WINDOW
    sums = padded[:, k:, k:] - padded[:, :-k, k:] - padded[:, k:, :-k] + padded[:, :-k, :-k]
    return np.asarray(sums / k**2)


def ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Planes:
    """Return the structural similarity (B,) of frames (B, H, W, 3): luma, 7 x 7 uniform windows, K1 0.01, K2 0.03.

    Wang et al. 2004, with the sample covariance as in scikit-image.
    """
    x, y = a @ _LUMA, b @ _LUMA
    mx, my = _window_means(x), _window_means(y)
    unbiased = _WINDOW**2 / (_WINDOW**2 - 1)
    vx = unbiased * (_window_means(x * x) - mx * mx)
    vy = unbiased * (_window_means(y * y) - my * my)
    cov = unbiased * (_window_means(x * y) - mx * my)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    quality = ((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return np.asarray(quality.mean((1, 2)))
