"""What the benchmarks call ranks, rank correlation and returns, against values from paper."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actionparty.environment.batches import RealWorlds
from actionparty.environment.observing import Arrays
from actionparty.environment.vector import VectorRollout
from actionparty.types import Ints
from actionparty.worlds.arena import ArenaWorld

_module = importlib.import_module("benchmarks.returns")  # by name, so that mypy leaves it alone
Uniform, episode_returns, interval, returns = (
    getattr(_module, name) for name in ("Uniform", "episode_returns", "interval", "returns")
)

CORRIDOR = "######\n#>o.<#\n######"
"""Subject 0 has a coin one step ahead; subject 1 walks towards it over nothing."""


class Always:
    """Every subject does the same in every step."""

    def __init__(self, action: str) -> None:
        self.action, self.begun = action, 0

    def begin(self, worlds: VectorRollout, seed: int) -> None:
        self.begun += 1

    def act(self, worlds: VectorRollout, observations: Arrays) -> Ints:
        assert observations["view"].shape[:2] == (worlds.size, worlds.spec.subjects)
        return np.full((worlds.size, worlds.spec.subjects), worlds.spec.actions.index(self.action))


def corridors(size: int, max_steps: int, length: int = 1000) -> VectorRollout:
    worlds = [ArenaWorld(layout=CORRIDOR, coin_rate=0, length=length) for _ in range(size)]
    return VectorRollout(RealWorlds(worlds), max_steps=max_steps, auto_reset=False)


@pytest.fixture(scope="module")
def ranking() -> Any:
    """The module that ranks, which needs Stable-Baselines3."""
    pytest.importorskip("stable_baselines3")
    return importlib.import_module("benchmarks.rank_policies")


def test_ranks_count_who_is_below_and_equals_share_the_mean_of_theirs(ranking: Any) -> None:
    assert ranking.ranks(np.array([0.3, -1, 7])).tolist() == [1, 0, 2]
    assert ranking.ranks(np.array([5.0, 1, 5, 9])).tolist() == [1.5, 0, 1.5, 3]
    assert ranking.ranks(np.array([2.0, 2, 2])).tolist() == [1, 1, 1]
    assert ranking.ranks(np.array([[1.0, 2], [2, 1]])).tolist() == [[0, 1], [1, 0]], "row by row"


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 1000], 1),  # the order counts, not the size
        ([1, 2, 3, 4], [4, 3, 2, 1], -1),
        ([1, 2, 3, 4], [2, 1, 4, 3], 1 - 6 * 4 / (4 * 15)),  # 1 - 6 sum d^2 / (n (n^2 - 1)) without ties
        ([1, 2, 3, 4, 5], [5, 6, 7, 8, 7], 8 / np.sqrt(10 * 9.5)),  # with a tie: Pearson of the ranks
        ([1, 1, 1], [1, 2, 3], 0),
        ([1, 2, 3], [7, 7, 7], 0),
    ],
)
def test_rank_correlation_is_the_one_from_paper(ranking: Any, a: list[float], b: list[float], wanted: float) -> None:
    assert ranking.spearman(np.array(a, float), np.array(b, float)) == pytest.approx(wanted)
    assert ranking.spearman(np.array(b, float), np.array(a, float)) == pytest.approx(wanted)


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=12))
def test_rank_correlation_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    stats = pytest.importorskip("scipy.stats")
    pytest.importorskip("stable_baselines3")
    ranking: Any = importlib.import_module("benchmarks.rank_policies")
    a, b = np.array(pairs, float).T
    assert ranking.ranks(a) + 1 == pytest.approx(stats.rankdata(a))
    if len(set(a)) > 1 and len(set(b)) > 1:
        assert ranking.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


def test_a_return_is_the_sum_of_what_one_subject_is_paid() -> None:
    worlds, walker = corridors(2, max_steps=5), Always("forward")
    assert episode_returns(worlds, walker, 0).tolist() == [[1, 0], [1, 0]], "one coin, however long they walk"
    assert episode_returns(worlds, Always("noop"), 0).tolist() == [[0, 0], [0, 0]]
    assert episode_returns(worlds, walker, 1).tolist() == [[1, 0], [1, 0]], "a new episode, nothing left of the last"
    assert walker.begun == 2


def test_a_world_that_ends_early_is_refused() -> None:
    assert episode_returns(corridors(1, max_steps=3, length=4), Always("noop"), 0).tolist() == [[0, 0]]
    with pytest.raises(SystemExit, match="ended before step 5"):
        episode_returns(corridors(1, max_steps=5, length=4), Always("noop"), 0)


def test_returns_of_episodes_are_means_over_subjects_and_repeatable() -> None:
    paid = returns("arena", "arena", Uniform(), episodes=3, max_steps=20, seed=4)
    assert paid.shape == (3,)
    assert paid.tolist() == returns("arena", "arena", Uniform(), 3, 20, 4).tolist()
    assert returns("arena", "arena", Always("noop"), 2, 5, 0).tolist() == [0, 0]


def test_the_interval_of_a_mean_holds_it_and_has_the_width_of_the_normal_one() -> None:
    assert interval(np.full(7, 2.5)) == [2.5, 2.5]
    values = np.tile([0.0, 1.0], 200)  # standard error 0.5 / sqrt(400) = 0.025
    low, high = interval(values)
    assert low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.005)
    assert high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.005)
