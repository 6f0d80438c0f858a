from __future__ import annotations

import numpy as np

from actionparty.evaluation.bootstrap import Median, Ratio, interval_of, joined


def test_value_is_the_share_of_all_and_absent_where_nothing_was_counted() -> None:
    assert Ratio.of([1, 2], [2, 6]).value == 3 / 8
    assert Ratio.of([0, 0], [0, 0]).value is None
    assert joined([Ratio.of([1], [2]), Ratio.of([2], [6])]).value == 3 / 8


def test_intervals_repeat_need_two_rollouts_and_shrink_to_nothing_without_spread() -> None:
    ratio = Ratio.of([3, 5, 9, 2], [10, 10, 10, 10])
    assert ratio.interval(seed=1) == ratio.interval(seed=1)
    low, high = ratio.interval(seed=1) or (1, 0)
    assert low <= 19 / 40 <= high
    assert Ratio.of([3], [10]).interval(seed=1) is None
    assert Ratio.of([3, 0], [10, 0]).interval(seed=1) is None
    assert Ratio.of([5, 5, 5], [10, 10, 10]).interval(seed=1) == (0.5, 0.5)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """20 rollouts of 50 trials each, 300 times: coverage of a percentile bootstrap with 20 clusters is near 0.93.

    A sound interval fails this with odds below 1e-5: for a true coverage of 0.91 or more, fewer than 250 of 300
    (z = -4.6) or, for 0.96 or less, all 300 (0.96 ** 300 = 5e-6).
    """
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        share = np.clip(rng.normal(0.8, 0.05, 20), 0, 1)
        interval = Ratio.of(rng.binomial(50, share), np.full(20, 50)).interval(seed=0, draws=400)
        assert interval is not None
        covered += interval[0] <= 0.8 <= interval[1]
    assert 250 <= covered < 300


def test_a_median_is_resampled_like_a_share_and_leaves_out_what_was_not_counted() -> None:
    median = Median.over([3, 1, 2, 10])
    assert median.value == 2.5
    low, high = median.interval(0) or (0.0, 0.0)
    assert (low, high) == (1, 10)
    assert Median.over([]).value is None
    assert Median.over([5]).interval(0) is None
    assert Median(np.array([1.0, 9.0]), np.array([1.0, 0.0])).value == 1


def test_the_draws_of_a_share_are_those_of_its_interval() -> None:
    ratio = Ratio.of([1, 0, 1, 1, 5], [1, 1, 1, 1, 0])
    draws = ratio.draws(3)
    assert draws is not None
    assert interval_of(draws) == ratio.interval(3)
    assert abs(draws.mean() - 0.75) < 0.02  # what was not counted weighs nothing
    assert interval_of(None) is interval_of(np.array([np.nan])) is None
