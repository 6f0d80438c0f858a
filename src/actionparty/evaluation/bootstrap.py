"""Figures with their uncertainty: what they are made of per rollout, and intervals by resampling rollouts.

Knows no metric. This is the one place that resamples: the interval of a world, of the mean over worlds and of a
difference come from it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actionparty.types import Bools, Ints

Sums = NDArray[np.float64]
DRAWS = 2000


class Statistic(ABC):
    """A figure over R rollouts (or held-out episodes) that can be computed again from any of them."""

    @abstractmethod
    def __len__(self) -> int:
        """R."""

    @property
    @abstractmethod
    def counts(self) -> Bools:
        """(R,) which rollouts have a part in the figure; only these are resampled."""

    @abstractmethod
    def take(self, index: Ints) -> Self:
        """Return the figure over the rollouts of ``index``, in that order."""

    @abstractmethod
    def resampled(self, picks: Ints) -> Sums:
        """Return (DRAWS,) the figure over the rollouts of each row of ``picks``; NaN where there is none."""

    @property
    def value(self) -> float | None:
        """The figure over all rollouts; None where there is none."""
        whole = float(self.resampled(np.arange(len(self))[None])[0])
        return whole if np.isfinite(whole) else None

    def draws(self, seed: int | Sequence[int], draws: int = DRAWS) -> Sums | None:
        """Return (draws,) the figure over resampled rollouts; None with fewer than two that count."""
        counted = self.take(np.flatnonzero(self.counts))
        size = len(counted)
        if size < 2:
            return None
        return counted.resampled(np.random.default_rng(seed).integers(0, size, (draws, size)))

    def interval(self, seed: int, draws: int = DRAWS, level: float = 0.95) -> tuple[float, float] | None:
        """Return the percentile bootstrap interval over rollouts; None with fewer than two that count."""
        return interval_of(self.draws(seed, draws), level)


@dataclass(frozen=True)
class Ratio(Statistic):
    """A share (or a mean) as ``right`` over ``total``, both summed per rollout, (R,)."""

    right: Sums
    total: Sums

    def __len__(self) -> int:
        return len(self.total)

    @staticmethod
    def of(right: ArrayLike, total: ArrayLike) -> Ratio:
        """Make a ratio from anything like two (R,) arrays."""
        return Ratio(np.asarray(right, np.float64).reshape(-1), np.asarray(total, np.float64).reshape(-1))

    @property
    def value(self) -> float | None:
        """The share over all rollouts; None where nothing was counted."""
        total = float(self.total.sum())
        return float(self.right.sum()) / total if total > 0 else None

    @property
    def counts(self) -> Bools:
        """(R,) which rollouts counted anything."""
        return np.asarray(self.total > 0)

    def take(self, index: Ints) -> Self:
        """Return the ratio over the rollouts of ``index``, in that order."""
        return type(self)(self.right[index], self.total[index])

    def resampled(self, picks: Ints) -> Sums:
        """Return (DRAWS,) the share over the rollouts of each row of ``picks``; NaN where one counted nothing."""
        right, total = self.right[picks].sum(1), self.total[picks].sum(1)
        return np.asarray(np.divide(right, total, out=np.full(len(right), np.nan), where=total > 0))


@dataclass(frozen=True)
class Error(Ratio):
    """A sum of errors over the sum of what there was, (R,) each: errors also count of rollouts in which nothing was."""

    @property
    def counts(self) -> Bools:
        """(R,) which rollouts have a part in either sum."""
        return np.asarray((self.total > 0) | (self.right > 0))


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
        counted = self.right[self.counts]
        return float(np.median(counted)) if len(counted) else None

    def resampled(self, picks: Ints) -> Sums:
        """Return (DRAWS,) the median over the rollouts of each row of ``picks``."""
        return np.asarray(np.median(self.right[picks], axis=1))


@dataclass(frozen=True)
class Mean(Statistic):
    """The mean of several figures of the same rollouts; there is none where one of them is missing."""

    parts: tuple[Statistic, ...]

    def __len__(self) -> int:
        return len(self.parts[0])

    @property
    def counts(self) -> Bools:
        """(R,) which rollouts have a part in any of the figures."""
        return np.asarray(np.any([part.counts for part in self.parts], axis=0))

    def take(self, index: Ints) -> Self:
        """Return the mean over the rollouts of ``index``, in that order."""
        return type(self)(tuple(part.take(index) for part in self.parts))

    def resampled(self, picks: Ints) -> Sums:
        """Return (DRAWS,) the mean over the rollouts of each row of ``picks``; NaN where one part is."""
        return np.asarray(np.mean([part.resampled(picks) for part in self.parts], axis=0))


def mean_draws(drawn: Sequence[Sums | None]) -> Sums | None:
    """Return (DRAWS,) the mean of the resampled values of several worlds; None where one of them has none.

    A draw without a value (in which no reward happens, say) is drawn again: the world's own others take its place.
    """
    whole = [values[np.isfinite(values)] for values in drawn if values is not None]
    if not whole or len(whole) < len(drawn) or not all(len(values) for values in whole):
        return None
    return np.asarray(np.mean([np.resize(v, DRAWS) for v in whole], axis=0))


def interval_of(draws: Sums | None, level: float = 0.95) -> tuple[float, float] | None:
    """Return the percentile interval of resampled values; None where there are none, or none is finite."""
    if draws is None or not np.isfinite(draws).any():
        return None
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def joined(parts: list[Ratio]) -> Ratio:
    """Return the ratio over the rollouts of all parts."""
    return Ratio(np.concatenate([p.right for p in parts]), np.concatenate([p.total for p in parts]))
