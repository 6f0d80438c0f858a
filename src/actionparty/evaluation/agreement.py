"""How well what was told agrees with what is real: average precision and correlation, of pairs kept by rollout.

No ratios of sums, but resampled as those are (``bootstrap``). Knows no metric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from actionparty.evaluation.bootstrap import Statistic, Sums
from actionparty.types import Bools, Floats, Ints

_CHUNK = 100
"""Draws of an average precision that are computed at once: bounds the memory."""
_NO_VARIANCE = 1e-12
"""Variance over mean square up to which values are equal but for rounding."""


@dataclass(frozen=True)
class AveragePrecision(Statistic):
    """How well ``odds`` rank cases that are a ``hit`` above those that are not: P cases of ``size`` rollouts.

    AP = sum over k of (recall_k - recall_(k-1)) precision_k, over the distinct odds from the highest down: equal odds
    enter together, so that no order among them is rewarded. Every case counts ``weight`` times. There is none without
    a hit.
    """

    odds: Floats
    """(P,)"""
    hit: Bools
    """(P,)"""
    rollout: Ints
    """(P,) which rollout each case is of"""
    weight: Sums
    """(P,)"""
    size: int
    """R"""

    def __len__(self) -> int:
        return self.size

    @property
    def counts(self) -> Bools:
        """(R,) which rollouts have any case."""
        return np.asarray(np.isin(np.arange(self.size), self.rollout))

    def take(self, index: Ints) -> Self:
        """Return the average precision over the cases of the rollouts of ``index``, in that order."""
        cases = [np.flatnonzero(self.rollout == old) for old in index]
        rollout = np.repeat(np.arange(len(index)), [len(part) for part in cases])
        chosen = np.concatenate([np.zeros(0, np.int64), *cases])
        return type(self)(self.odds[chosen], self.hit[chosen], rollout, self.weight[chosen], len(index))

    def resampled(self, picks: Ints) -> Sums:
        """Return (DRAWS,) the average precision over the rollouts of each row of ``picks``; NaN without a hit."""
        hits, cases = self._levels()
        chunks = [_times(picks[i : i + _CHUNK], self.size) for i in range(0, len(picks), _CHUNK)]
        return np.concatenate([_average_precision(times, hits, cases) for times in chunks])

    def _levels(self) -> tuple[Sums, Sums]:
        """Return (R, K) what the hits, and the cases, weigh that enter at each of the K odds of hits, highest first."""
        levels = np.unique(self.odds[self.hit])
        level = len(levels) - np.searchsorted(levels, self.odds, side="right")
        enters = level < len(levels)
        sums = np.zeros((2, self.size, len(levels)))
        for out, which in zip(sums, (enters & self.hit, enters), strict=True):
            np.add.at(out, (self.rollout[which], level[which]), self.weight[which])
        return sums[0], sums[1]


def _times(picks: Ints, size: int) -> Sums:
    """Return (DRAWS, size) how often each rollout is in each row of ``picks``."""
    out = np.zeros((len(picks), size))
    np.add.at(out, (np.arange(len(picks))[:, None], picks), 1)
    return out


def _average_precision(times: Sums, hits: Sums, cases: Sums) -> Sums:
    """Return (DRAWS,) the average precision where rollouts are there ``times`` (DRAWS, R); see ``_levels``."""
    found, above = times @ hits.cumsum(1), times @ cases.cumsum(1)
    precision = np.divide(found, above, out=np.zeros_like(found), where=above > 0)
    gained, whole = ((times @ hits) * precision).sum(1), times @ hits.sum(1)
    return np.asarray(np.divide(gained, whole, out=np.full(len(whole), np.nan), where=whole > 0))


@dataclass(frozen=True)
class Correlation(Statistic):
    """Pearson's correlation of what was ``told`` with what is ``real``, over N pairs of each of R rollouts.

    There is none where the real values are all equal; it is 0 where only the told ones are, which say nothing then.
    """

    told: Sums
    """(R, N)"""
    real: Sums
    """(R, N)"""

    def __len__(self) -> int:
        return len(self.real)

    @property
    def counts(self) -> Bools:
        """(R,) every rollout has its pairs."""
        return np.ones(len(self), bool)

    def take(self, index: Ints) -> Self:
        """Return the correlation over the rollouts of ``index``, in that order."""
        return type(self)(self.told[index], self.real[index])

    def resampled(self, picks: Ints) -> Sums:
        """Return (DRAWS,) the correlation over the rollouts of each row of ``picks``; NaN where all real are equal."""
        x, y = (values - values.mean() for values in (self.told, self.real))
        mean_x, mean_y, xx, yy, xy = (v.mean(1)[picks].mean(1) for v in (x, y, x * x, y * y, x * y))
        spread_x, spread_y = _variance(xx, mean_x), _variance(yy, mean_y)
        scale = np.sqrt(spread_x * spread_y)
        r = np.divide(xy - mean_x * mean_y, scale, out=np.zeros_like(scale), where=scale > 0)
        return np.where(spread_y > 0, r.clip(-1, 1), np.nan)


def _variance(square: Sums, mean: Sums) -> Sums:
    """Return the variance of values of this mean ``square`` and ``mean``, 0 where it is nothing but rounding."""
    spread = square - mean**2
    return np.where(spread > _NO_VARIANCE * square, spread, 0.0)
