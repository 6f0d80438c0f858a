"""Odds are put right where what was said of them is off, and never invented."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from actionparty.model.chances import NEVER, Chances, fit_odds, log_odds


def sample(said: Tensor, factor: float, shift: float) -> Tensor:
    """Return what happened in cases whose true log odds are ``factor`` times what was ``said``, plus ``shift``."""
    lots = torch.rand(said.shape, generator=torch.Generator().manual_seed(1))
    return lots < torch.sigmoid(factor * said + shift)


@pytest.fixture
def said() -> Tensor:
    return torch.randn(20_000, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(("factor", "shift"), [(1.0, 0.0), (2.0, 1.0), (0.5, -1.5)])
def test_the_odds_that_made_the_cases_are_found_again(said: Tensor, factor: float, shift: float) -> None:
    fit = fit_odds(said, sample(said, factor, shift), torch.ones_like(said))
    torch.testing.assert_close(fit, torch.tensor([factor, shift]), atol=0.1, rtol=0)


def test_what_was_fitted_comes_as_often_as_it_came(said: Tensor) -> None:
    happened = sample(said, 3.0, -1.0)
    factor, shift = fit_odds(said, happened, torch.ones_like(said))
    assert float(torch.sigmoid(factor * said + shift).sum()) == pytest.approx(float(happened.sum()), rel=1e-3)


def test_a_case_of_weight_three_counts_as_three_cases(said: Tensor) -> None:
    some, happened = said[:500], sample(said, 2.0, 0.0)[:500]
    weight = torch.where(happened, 3.0, 1.0)
    thrice = torch.cat([some, some[happened], some[happened]])
    same = fit_odds(thrice, torch.cat([happened, *[happened[happened]] * 2]), torch.ones_like(thrice))
    torch.testing.assert_close(fit_odds(some, happened, weight), same, atol=1e-4, rtol=1e-4)


def test_cases_that_a_line_divides_give_finite_odds(said: Tensor) -> None:
    fit = fit_odds(said, said > 0.5, torch.ones_like(said))
    assert fit.isfinite().all()
    assert (torch.sigmoid(fit[0] * said + fit[1]) > 0.5).eq(said > 0.5).float().mean() > 0.99


def test_what_never_happened_is_never_likely(said: Tensor) -> None:
    fit = fit_odds(said, torch.zeros_like(said, dtype=torch.bool), torch.ones_like(said))
    assert fit.equal(NEVER)
    assert float(torch.sigmoid(fit[0] * said + fit[1]).max()) < 1e-12


def test_what_update_says_of_a_life_means_the_odds_that_it_changes() -> None:
    said, alive = torch.tensor([0.8, 0.8, -0.5, 1.3]), torch.tensor([True, False, False, True])
    odds = torch.sigmoid(log_odds(said, alive))
    torch.testing.assert_close(odds, torch.tensor([0.1, 0.9, 0.25, 0.001]))


def test_ends_returns_and_rewards_have_their_own_odds() -> None:
    chances = Chances(torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 1.0]]))
    odds = chances.life_changes(torch.tensor([[0.5, -0.5]]), torch.tensor([[True, False]]))
    torch.testing.assert_close(odds, torch.tensor([[0.25, 0.1]]))
    torch.testing.assert_close(chances.rewards(torch.tensor([[-1.0, 0.0]])), torch.sigmoid(torch.tensor([[0.0, 1.0]])))
