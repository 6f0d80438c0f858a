"""Shares with their uncertainty: sums per rollout, and intervals by resampling rollouts. Knows no metric.

This is the one place that resamples: the interval of a world, of the mean over worlds and of a difference come from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actionparty.types import Ints

Sums = NDArray[np.float64]
DRAWS = 2000


@dataclass(frozen=True)
class Ratio:
    """A share (or a mean) as ``right`` over ``total``, both summed per rollout, (R,)."""

    right: Sums
    total: Sums

    @staticmethod
    def of(right: ArrayLike, total: ArrayLike) -> Ratio:
        """Make a ratio from anything like two (R,) arrays."""
        return Ratio(np.asarray(right, np.float64).reshape(-1), np.asarray(total, np.float64).reshape(-1))

    @property
    def value(self) -> float | None:
        """The share over all rollouts; None where nothing was counted."""
        total = float(self.total.sum())
        return float(self.right.sum()) / total if total > 0 else None

    def counted(self) -> Ratio:
        """Return the rollouts that counted anything."""
        return type(self)(self.right[self.total > 0], self.total[self.total > 0])

    def resampled(self, picks: Ints) -> Sums:
        """Return (DRAWS,) the share over the rollouts of each row of ``picks``; NaN where one counted nothing."""
        right, total = self.right[picks].sum(1), self.total[picks].sum(1)
        return np.asarray(np.divide(right, total, out=np.full(len(right), np.nan), where=total > 0))

    def draws(self, seed: int | Sequence[int], draws: int = DRAWS) -> Sums | None:
        """Return (draws,) the share over resampled rollouts; None with fewer than two that counted anything."""
        counted = self.counted()
        size = len(counted.total)
        if size < 2:
            return None
        return counted.resampled(np.random.default_rng(seed).integers(0, size, (draws, size)))

    def interval(self, seed: int, draws: int = DRAWS, level: float = 0.95) -> tuple[float, float] | None:
        """Return the percentile bootstrap interval over rollouts; None with fewer than two that counted anything."""
        return interval_of(self.draws(seed, draws), level)


@dataclass(frozen=True)
class Median(Ratio):
    """The median of one value per rollout, (R,), held in ``right``; ``total`` says where there is one (1 or 0)."""

    @staticmethod
    def over(values: ArrayLike) -> Median:
        """Make the median of anything like an (R,) array."""
        right = np.asarray(values, np.float64).reshape(-1)
        return Median(right, np.ones_like(right))

    @property
    def value(self) -> float | None:
        """The median over all rollouts; None where there is none."""
        counted = self.counted().right
        return float(np.median(counted)) if len(counted) else None

    def resampled(self, picks: Ints) -> Sums:
        """Return (DRAWS,) the median over the rollouts of each row of ``picks``."""
        return np.asarray(np.median(self.right[picks], axis=1))


def interval_of(draws: Sums | None, level: float = 0.95) -> tuple[float, float] | None:
    """Return the percentile interval of resampled values; None where there are none, or none is finite."""
    if draws is None or not np.isfinite(draws).any():
        return None
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def joined(parts: list[Ratio]) -> Ratio:
    """Return the ratio over the rollouts of all parts."""
    return Ratio(np.concatenate([p.right for p in parts]), np.concatenate([p.total for p in parts]))
