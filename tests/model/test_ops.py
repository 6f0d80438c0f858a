from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from actionparty.model.ops import (
    attend,
    concat_rotary,
    grid_positions,
    grid_size,
    place,
    plain_attention,
    rotary,
    rotate,
    surroundings,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_scores_depend_only_on_differences_of_position() -> None:
    q, k = normal(1, 2, 6, 16), normal(1, 2, 7, 16, seed=1)
    here, there = normal(1, 6, 2, seed=2) * 5, normal(1, 7, 2, seed=3) * 5

    def scores(shift: torch.Tensor) -> torch.Tensor:
        return rotate(q, rotary(here + shift, 16, 100.0)) @ rotate(k, rotary(there + shift, 16, 100.0)).mT

    still = scores(torch.zeros(2))
    torch.testing.assert_close(scores(torch.tensor([7.0, -3.5])), still, atol=1e-4, rtol=0)
    moved = rotate(q, rotary(here, 16, 100.0)) @ rotate(k, rotary(there + 1, 16, 100.0)).mT
    assert (moved - still).abs().max() > 0.1


def test_each_axis_turns_its_own_half_of_the_channels() -> None:
    cos, sin = rotary(torch.tensor([[[3.0, 0.0]]]), 16, 100.0)
    assert (cos[..., 4:] == 1).all()
    assert (sin[..., 4:] == 0).all()
    torch.testing.assert_close(sin[0, 0, 0], torch.tensor(3.0).sin())


def test_rotating_keeps_norms_and_position_zero_changes_nothing() -> None:
    x = normal(2, 3, 5, 16)
    turned = rotate(x, rotary(normal(2, 5, 2) * 9, 16, 100.0))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(rotate(x, rotary(torch.zeros(2, 5, 2), 16, 100.0)), x)


def test_joined_tables_broadcast_their_batches() -> None:
    cells, subjects = rotary(grid_positions(2, 3), 16, 100.0), rotary(normal(4, 5, 2), 16, 100.0)
    cos, sin = concat_rotary(cells, subjects)
    assert cos.shape == sin.shape == (4, 11, 8)
    assert torch.equal(cos[3, :6], cells[0][0])
    assert torch.equal(sin[:, 6:], subjects[1])


@pytest.mark.parametrize("masked", [False, True])
def test_plain_attention_equals_the_fused_kernel(masked: bool) -> None:
    q, k, v = normal(2, 3, 5, 16), normal(2, 3, 9, 16, seed=1), normal(2, 3, 9, 16, seed=2)
    mask = None
    if masked:
        mask = torch.rand((2, 1, 1, 9), generator=torch.Generator().manual_seed(3)) < 0.5
        mask[..., 0] = True
    expected = functional.scaled_dot_product_attention(q, k, v, mask)
    torch.testing.assert_close(plain_attention(q, k, v, mask), expected, atol=1e-5, rtol=0)


def test_unseen_keys_do_not_matter() -> None:
    q, k, v = normal(2, 2, 4, 8), normal(2, 2, 6, 8, seed=1), normal(2, 2, 6, 8, seed=2)
    mask = torch.tensor([[True] * 4 + [False] * 2] * 2)
    expected = attend(q, k[:, :, :4], v[:, :, :4], None)
    torch.testing.assert_close(attend(q, k, v, mask), expected, atol=1e-6, rtol=0)
    assert expected.shape == (2, 4, 16)


def test_cells_are_numbered_row_by_row() -> None:
    assert grid_positions(2, 3)[0].tolist() == [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]


def test_a_whole_position_adds_exactly_to_its_cell() -> None:
    cells, tokens = normal(1, 12, 5), normal(1, 2, 5, seed=1)
    position = torch.tensor([[[2.0, 1.0], [3.0, 2.0]]])
    out = place(cells, tokens, position, torch.ones(1, 2), (3, 4))
    expected = cells.clone()
    expected[0, 1 * 4 + 2] += tokens[0, 0]
    expected[0, 2 * 4 + 3] += tokens[0, 1]
    assert torch.equal(out, expected)


def test_subjects_on_one_cell_add_up() -> None:
    tokens = normal(1, 3, 5)
    out = place(torch.zeros(1, 4, 5), tokens, torch.ones(1, 3, 2), torch.ones(1, 3), (2, 2))
    torch.testing.assert_close(out[0, 3], tokens[0].sum(0))


def test_bilinear_weights_are_the_closed_form_and_sum_to_one() -> None:
    position = torch.tensor([[[1.25, 0.5]]])
    out = place(torch.zeros(1, 12, 1), torch.ones(1, 1, 1), position, torch.ones(1, 1), (3, 4)).reshape(3, 4)
    expected = torch.zeros(3, 4)
    expected[0, 1], expected[0, 2], expected[1, 1], expected[1, 2] = 0.375, 0.125, 0.375, 0.125
    assert torch.equal(out, expected)
    anywhere = torch.rand((8, 20, 2), generator=torch.Generator().manual_seed(0)) * 12 - 4
    out = place(torch.zeros(8, 12, 1), torch.ones(8, 20, 1), anywhere, torch.ones(8, 20), (3, 4))
    torch.testing.assert_close(out.sum((1, 2)), torch.full((8,), 20.0))


def test_outside_the_grid_means_its_border() -> None:
    position = torch.tensor([[[-7.0, 9.0]]])
    out = place(torch.zeros(1, 12, 1), torch.ones(1, 1, 1), position, torch.ones(1, 1), (3, 4))
    assert out.reshape(3, 4)[2, 0] == 1


def test_weight_zero_adds_nothing() -> None:
    cells = normal(1, 12, 5)
    out = place(cells, normal(1, 2, 5), torch.ones(1, 2, 2), torch.zeros(1, 2), (3, 4))
    assert torch.equal(out, cells)


def test_gradients_reach_cells_tokens_and_positions() -> None:
    cells, tokens = normal(1, 12, 5).requires_grad_(), normal(1, 2, 5).requires_grad_()
    position = torch.tensor([[[1.3, 0.6], [2.0, 1.0]]], requires_grad=True)
    loss = place(cells, tokens, position, torch.tensor([[1.0, 0.5]]), (3, 4)).pow(2).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert cells.grad is not None
    assert (cells.grad != 0).all()
    assert tokens.grad is not None
    assert (tokens.grad != 0).all()
    assert position.grad is not None
    assert (position.grad[0, 0] != 0).all()


def test_the_size_of_a_padded_frame_is_that_of_its_real_part() -> None:
    mask = torch.zeros(2, 4, 5, dtype=torch.bool)
    mask[0, :3, :2] = True
    mask[1, :4, :5] = True
    assert grid_size((4, 5), mask.flatten(1), mask.device).tolist() == [[[2, 3]], [[5, 4]]]
    assert grid_size((4, 5), None, mask.device).tolist() == [5, 4]


@pytest.mark.parametrize(
    ("facing", "expected"),
    [
        (0, [0, 1, 2, 4, 5, 6, 8, 9, 10]),
        (1, [2, 6, 10, 1, 5, 9, 0, 4, 8]),
        (2, [10, 9, 8, 6, 5, 4, 2, 1, 0]),
        (3, [8, 4, 0, 9, 5, 1, 10, 6, 2]),
    ],
)
def test_surroundings_are_read_from_ahead_left_to_behind_right(facing: int, expected: list[int]) -> None:
    cells = 3 * torch.arange(12.0).reshape(1, 12, 1)
    seen = surroundings(cells, torch.tensor([[[1.0, 1.0]]]), torch.tensor([[facing]]), (3, 4))
    assert seen.tolist() == [[expected]]


def test_surroundings_outside_the_grid_are_zero() -> None:
    seen = surroundings(torch.full((1, 12, 2), 3.0), torch.tensor([[[0.0, 2.0]]]), torch.tensor([[0]]), (3, 4))
    assert seen.reshape(3, 3, 2)[..., 0].tolist() == [[0, 1, 1], [0, 1, 1], [0, 0, 0]]
    assert not surroundings(torch.ones(1, 12, 2), torch.full((1, 1, 2), 9.0), torch.tensor([[0]]), (3, 4)).any()
