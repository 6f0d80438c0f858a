"""The losses of predicted states, counted by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.model.samples import random_subjects
from torch import Tensor

from actionparty.model.palette import DRAWN
from actionparty.model.update import ALIVE, STATE_CHANNELS, NextStates, encode_states
from actionparty.training import objective
from actionparty.training.objective import Inputs, balanced, own_cells, state_losses, tile_losses

B, N = 4, 3
TIME = torch.tensor([0.0, 0.5, 0.0, 0.0])
ALIVE_NOW = torch.tensor([[True, False, False], [False, False, True], [True, True, True], [False, True, True]])
ALIVE_NEXT = torch.tensor([[True, True, False], [True, False, True], [True, False, True], [False, True, True]])


def inputs(alive_now: Tensor) -> Inputs:
    """Make a batch whose subjects stand still, of which only the states matter here."""
    subjects = random_subjects(B, N, (4, 5))
    alive = subjects.alive.clone()
    alive[:, -1] = alive_now
    jump = ALIVE_NEXT & ~alive_now
    facing = torch.zeros(B, N, dtype=torch.long)
    states = NextStates(torch.zeros(B, N, 2), facing, ALIVE_NEXT, jump)
    nothing = torch.zeros(B, 20, 192)
    changed = torch.zeros(B, 20, dtype=torch.bool)
    subjects = replace(subjects, alive=alive)
    return Inputs(nothing[:, None], nothing, changed, changed.long(), subjects, states, subjects.now)


def test_the_loss_of_returns_is_the_plain_error_of_those_who_are_gone_at_time_zero() -> None:
    batch = inputs(ALIVE_NOW)
    predicted = encode_states(batch.states).clone()
    predicted[..., ALIVE] = torch.tensor([[9.0, 0.5, -0.6], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0], [1.0, 9.0, 9.0]])
    losses = state_losses(predicted, batch, TIME)
    came, stayed, wrong = (0.5 - 1) ** 2, (-0.6 + 1) ** 2, (1 + 1) ** 2
    assert float(losses["return"]) == pytest.approx((came + stayed + wrong) / 3)


def test_other_channels_and_other_times_do_not_enter_the_loss_of_returns() -> None:
    batch = inputs(ALIVE_NOW)
    clean = encode_states(batch.states)
    predicted = clean + 1
    predicted[..., ALIVE] = clean[..., ALIVE]
    predicted[1] += 7
    losses = state_losses(predicted, batch, TIME)
    assert float(losses["return"]) == 0
    assert float(losses["state"]) > 1


def test_there_is_no_loss_of_returns_where_nobody_is_gone() -> None:
    everybody = torch.ones(B, N, dtype=torch.bool)
    predicted = torch.zeros(B, N, STATE_CHANNELS)
    assert "return" not in state_losses(predicted, inputs(everybody), TIME)
    assert "return" not in state_losses(predicted, inputs(ALIVE_NOW), torch.full((B,), 0.5))


def test_each_channel_counts_in_the_state_loss_only_where_it_means_something() -> None:
    batch = inputs(ALIVE_NOW)
    alive, jump = batch.states.alive, batch.states.jump
    meaningful = {
        **dict.fromkeys((0, 1), alive & ~jump),
        **dict.fromkeys((2, 3, 4, 5, 7), alive),
        6: torch.ones_like(alive),
    }
    time = torch.zeros(B)
    for channel, counted in meaningful.items():
        predicted = encode_states(batch.states).clone()
        predicted[..., channel] += 2
        expected = 4 * float(counted.float().sum()) / (B * N * STATE_CHANNELS)
        assert float(state_losses(predicted, batch, time)["state"]) == pytest.approx(expected), channel


def test_an_error_weighs_as_one_of_the_velocity() -> None:
    batch = inputs(ALIVE_NOW)
    predicted = encode_states(batch.states)
    predicted = predicted + 1
    whole, half = (float(state_losses(predicted, batch, torch.full((B,), t))["state"]) for t in (0.0, 0.5))
    assert half == pytest.approx(4 * whole)


def test_the_cells_of_subjects_are_where_the_living_are_now_or_next() -> None:
    batch = inputs(ALIVE_NOW)
    here = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]]).expand(B, -1, -1)
    past = batch.subjects.position.clone()
    past[:, -1] = here
    batch = replace(batch, subjects=replace(batch.subjects, position=past), position=here + torch.tensor([0.0, 3.0]))
    marked = own_cells(batch, (4, 5))
    expected = torch.zeros(B, 20, dtype=torch.bool)
    expected[:, :3], expected[:, 15:18] = ALIVE_NOW, ALIVE_NEXT
    assert torch.equal(marked, expected)


def test_other_cells_weigh_together_no_more_than_those_of_subjects() -> None:
    error = torch.arange(1.0, 7.0)[None]
    mask = torch.tensor([[True, True, True, True, True, False]])
    own = torch.tensor([[True, False, False, False, False, True]])
    assert float(balanced(error, mask, own)) == pytest.approx(1 + (2 + 3 + 4 + 5) / 4)
    few = torch.tensor([[True, True, True, True, False, False]])
    assert float(balanced(error, mask, few)) == pytest.approx((1 + 2 + 3 + 4) / 4 + 5 / 4)
    nobody = torch.zeros_like(own)
    assert float(balanced(error, mask, nobody)) == pytest.approx(3.0)
    assert float(balanced(error, nobody, own)) == 0


def test_the_loss_of_tiles_is_the_cross_entropy_of_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objective, "_HIDDEN_TILES", 0.0)
    logits = torch.tensor([[[0.0, 1.0, 3.0], [0.5, 2.0, 0.0]]])
    loss, right = tile_losses(logits, torch.tensor([[0, 0]]), torch.Generator())
    assert loss[0].tolist() == pytest.approx([-logits[0, i].log_softmax(0)[1].item() for i in range(2)])
    assert right.tolist() == [[False, True]]


def test_cells_that_show_a_hidden_tile_have_to_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objective, "_HIDDEN_TILES", 1.0)
    logits = torch.tensor([[[0.0, 9.0, 3.0]]])
    loss, right = tile_losses(logits, torch.tensor([[0]]), torch.Generator())
    assert loss.item() == 0  # nothing else is left
    assert right.all()
    assert DRAWN == 0
