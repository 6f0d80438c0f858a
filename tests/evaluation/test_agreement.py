from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from actionparty.evaluation.agreement import AveragePrecision, Correlation
from actionparty.evaluation.bootstrap import DRAWS, Error, Mean, Ratio, interval_of, mean_draws


def ranking(
    odds: list[float], hit: list[int], rollout: list[int] | None = None, weight: list[float] | None = None
) -> AveragePrecision:
    at = np.array(rollout or [0] * len(odds))
    weights = np.array(weight or [1.0] * len(odds))
    return AveragePrecision(np.array(odds, np.float32), np.array(hit, bool), at, weights, int(at.max()) + 1)


def by_definition(odds: NDArray[np.generic], hit: NDArray[np.bool_], weight: NDArray[np.float64]) -> float:
    """The sum of precision times what recall gains, threshold by threshold."""
    area, recall = 0.0, 0.0
    for threshold in sorted(set(odds.tolist()), reverse=True):
        told = odds >= threshold
        found = float(weight[told & hit].sum())
        area += (found / weight[hit].sum() - recall) * found / weight[told].sum()
        recall = found / weight[hit].sum()
    return area


def test_average_precision_by_hand() -> None:
    assert ranking([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]).value == pytest.approx((1 + 2 / 3) / 2)
    assert ranking([0.9, 0.8, 0.7, 0.6], [0, 0, 0, 1]).value == 1 / 4
    assert ranking([0.6, 0.9, 0.8], [0, 1, 1]).value == 1
    assert ranking([0.9, 0.1], [0, 0]).value is None


def test_equal_odds_have_no_order_so_that_a_model_that_tells_nothing_gets_the_share_of_hits() -> None:
    assert ranking([0.5] * 8, [1, 0, 0, 0, 0, 0, 0, 1]).value == 1 / 4
    assert ranking([0.5, 0.5, 0.1], [1, 0, 1]).value == pytest.approx(1 / 2 * 1 / 2 + 1 / 2 * 2 / 3)


def test_a_case_of_weight_three_counts_as_three_cases() -> None:
    heavy = ranking([0.9, 0.8, 0.7], [1, 0, 1], weight=[1, 3, 2])
    plain = ranking([0.9, 0.8, 0.8, 0.8, 0.7, 0.7], [1, 0, 0, 0, 1, 1])
    assert heavy.value == pytest.approx(plain.value)
    assert heavy.value == pytest.approx(1 / 3 + 2 / 3 * 3 / 6)


def test_average_precision_and_its_resampled_values_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    odds = (rng.integers(0, 30, 400) / 30).astype(np.float32)  # with many ties
    hit, at, weight = rng.random(400) < 0.3 * odds + 0.02, rng.integers(0, 9, 400), rng.integers(1, 9, 400) / 2
    found = AveragePrecision(odds, hit, at, weight, 9)
    assert found.value == pytest.approx(by_definition(odds, hit, weight))
    picks = rng.integers(0, 9, (120, 9))  # more than are computed at once
    for row, value in zip(picks, found.resampled(picks), strict=True):
        again = np.concatenate([np.flatnonzero(at == k) for k in row])
        assert value == pytest.approx(by_definition(odds[again], hit[again], weight[again]))
        assert found.take(row).value == pytest.approx(value)


def test_resampling_without_a_hit_has_no_value_and_rollouts_without_cases_are_not_drawn() -> None:
    found = ranking([0.9, 0.2, 0.8, 0.3], [1, 0, 0, 0], [0, 0, 2, 2])
    assert found.counts.tolist() == [True, False, True]
    assert np.isnan(found.resampled(np.array([[1, 2, 2], [1, 1, 1]]))).all()
    draws = found.draws(0)
    assert draws is not None
    assert np.isnan(draws).mean() == pytest.approx(1 / 4, abs=0.05)  # both of the two are the one without
    assert found.interval(0) == (1, 1)
    assert ranking([0.9, 0.2], [1, 0]).interval(0) is None


def test_correlation_is_pearsons_over_all_pairs() -> None:
    rng = np.random.default_rng(1)
    real = rng.normal(100, 3, (12, 4))
    told = 0.5 * real + rng.normal(0, 1, (12, 4))
    found = Correlation(told, real)
    whole = float(np.corrcoef(told.ravel(), real.ravel())[0, 1])
    assert found.value == pytest.approx(whole)
    picks = rng.integers(0, 12, (50, 12))
    for row, value in zip(picks, found.resampled(picks), strict=True):
        assert value == pytest.approx(np.corrcoef(told[row].ravel(), real[row].ravel())[0, 1])
        assert found.take(row).value == pytest.approx(value)
    low, high = found.interval(0) or (0.0, 0.0)
    assert low < whole < high
    assert Correlation(3 * real + 7, real).value == pytest.approx(1)
    assert Correlation(-real, real).value == pytest.approx(-1)


def test_correlation_is_absent_without_real_differences_and_nothing_without_told_ones() -> None:
    different, equal = np.arange(6.0).reshape(3, 2), np.full((3, 2), 0.1)
    assert Correlation(different, equal).value is None
    assert Correlation(equal, equal).value is None
    assert Correlation(equal, different).value == 0


def test_errors_count_where_there_was_nothing_to_tell() -> None:
    right, total = np.array([1.0, 4.0, 0.0]), np.array([2.0, 0.0, 0.0])
    error = Error(right, total)
    assert error.value == 5 / 2
    assert error.counts.tolist() == [True, True, False]
    assert Ratio(right, total).counts.tolist() == [True, False, False]
    assert Error(np.ones(2), np.zeros(2)).value is None


def test_a_mean_of_figures_weighs_them_equally_and_needs_all() -> None:
    ends, rest = Ratio.of([1, 0, 0], [1, 1, 0]), Ratio.of([10, 20, 30], [10, 20, 30])
    mean = Mean((ends, rest))
    assert mean.value == 3 / 4
    assert mean.counts.all()
    assert mean.take(np.array([0])).value == 1
    assert mean.interval(0) == (0.5, 1)
    assert Mean((Ratio.of([0], [0]), Ratio.of([1], [1]))).value is None


def test_the_mean_over_worlds_draws_again_what_has_no_value() -> None:
    sparse, full = np.full(DRAWS, np.nan), np.full(DRAWS, 0.5)
    sparse[::4] = 1.0
    assert interval_of(mean_draws([sparse, full])) == (0.75, 0.75)
    assert mean_draws([sparse, None]) is mean_draws([]) is mean_draws([full * np.nan, full]) is None
    order = np.arange(DRAWS, dtype=float)
    np.testing.assert_array_equal(mean_draws([order, full]), (order + 0.5) / 2)
