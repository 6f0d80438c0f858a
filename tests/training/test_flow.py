from __future__ import annotations

import pytest
import torch
from torch import Tensor

from actionparty.training.flow import denoise, interpolate, loss_weight, sample_time


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_time_zero_is_noise_and_time_one_is_clean() -> None:
    clean, noise = normal(3, 4, 5), normal(3, 4, 5, seed=1)
    z = interpolate(clean, noise, torch.tensor([0.0, 1.0, 0.25]))
    assert torch.equal(z[0], noise[0])
    assert torch.equal(z[1], clean[1])
    torch.testing.assert_close(z[2], 0.75 * noise[2] + 0.25 * clean[2])


def test_the_loss_weight_turns_clean_errors_into_velocity_errors() -> None:
    time = torch.tensor([0.0, 0.5, 0.75])
    torch.testing.assert_close(loss_weight(time), torch.tensor([1.0, 4.0, 16.0]))
    clean, noise, guess = normal(3, 6), normal(3, 6, seed=1), normal(3, 6, seed=2)
    z = interpolate(clean, noise, time)
    velocity = (guess - z) / (1 - time)[:, None]
    error = ((velocity - (clean - noise)) ** 2).sum(1)
    torch.testing.assert_close(error, ((guess - clean) ** 2).sum(1) * loss_weight(time), rtol=1e-4, atol=1e-4)


def test_the_loss_weight_is_bounded_near_clean_data() -> None:
    torch.testing.assert_close(loss_weight(torch.tensor([0.8, 0.99, 1.0])), torch.full((3,), 25.0))


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 16])
def test_a_perfect_predictor_is_followed_to_the_clean_end(steps: int) -> None:
    clean, noise = normal(2, 3, 4), normal(2, 3, 4, seed=1)
    times: list[float] = []

    def predict(noisy: Tensor, time: Tensor) -> Tensor:
        torch.testing.assert_close(noisy, interpolate(clean, noise, time))
        times.append(float(time[0]))
        return clean

    assert torch.equal(denoise(predict, noise, steps), clean)
    assert times == pytest.approx([k / steps for k in range(steps)])


def test_the_solver_follows_a_known_flow() -> None:
    """For data N(0, 0.25) the best prediction is known; many small steps shrink the noise to the data's spread."""

    def predict(noisy: Tensor, time: Tensor) -> Tensor:
        t = time[:, None]
        return noisy * t * 0.25 / (t**2 * 0.25 + (1 - t) ** 2)

    noise = normal(1, 500)
    torch.testing.assert_close(denoise(predict, noise, 400), noise / 2, atol=0.02, rtol=0.02)


def test_flow_times_have_the_stated_distribution() -> None:
    """Each bound is 5 standard errors: false alarms in fewer than 1 of 500,000 seeds."""
    n = 40_000
    time = sample_time(n, torch.Generator().manual_seed(0), zero_share=0.3, mean=-0.4, std=1.2)
    zero = time == 0
    assert abs(float(zero.float().mean()) - 0.3) < 5 * (0.3 * 0.7 / n) ** 0.5
    logits = torch.logit(time[~zero])
    assert abs(float(logits.mean()) + 0.4) < 5 * 1.2 / (0.7 * n) ** 0.5
    assert abs(float(logits.std()) - 1.2) < 5 * 1.2 / (2 * 0.7 * n) ** 0.5
    assert float(time.max()) < 1


def test_flow_times_follow_from_their_generator() -> None:
    a, b = (sample_time(9, torch.Generator().manual_seed(4), zero_share=0.3, mean=0, std=1) for _ in range(2))
    assert torch.equal(a, b)
