"""Shares with their uncertainty: sums per rollout, and intervals by resampling rollouts. Knows no metric."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Sums = NDArray[np.float64]


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

    def interval(self, seed: int, draws: int = 2000, level: float = 0.95) -> tuple[float, float] | None:
        """Return the percentile bootstrap interval over rollouts; None with fewer than two that counted anything."""
        counted = self.total > 0
        right, total = self.right[counted], self.total[counted]
        if len(right) < 2:
            return None
        picks = np.random.default_rng(seed).integers(0, len(right), (draws, len(right)))
        shares = right[picks].sum(1) / total[picks].sum(1)
        low, high = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def joined(parts: list[Ratio]) -> Ratio:
    """Return the ratio over the rollouts of all parts."""
    return Ratio(np.concatenate([p.right for p in parts]), np.concatenate([p.total for p in parts]))
