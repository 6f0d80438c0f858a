"""Local attention: the same as full attention with a mask, at a cost that is linear in cells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.model.samples import TINY, answers, network, padded_cells, random_sample
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from actionparty.errors import InvalidInputError
from actionparty.model.layers import Block
from actionparty.model.local import Windows, attend_locally
from actionparty.model.ops import attend, grid_positions

LOCAL = replace(TINY, window=4, registers=2, observe_layers=2)


def together(windows: Windows) -> Tensor:
    """Return (M, M) whether two cells are in one window, by their places."""
    number = torch.div(grid_positions(*windows.grid)[0] + windows.shift, windows.size, rounding_mode="floor")
    return (number[:, None] == number[None]).all(-1)


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("grid", [(4, 8), (5, 7), (3, 2)])
def test_it_is_attention_with_a_mask(grid: tuple[int, int], shift: int) -> None:
    windows, m, others = Windows(grid, 4, shift), grid[0] * grid[1], 3
    g = torch.Generator().manual_seed(0)
    q, k, v = torch.randn((3, 2, 4, m + others, 8), generator=g)
    unhidden = torch.rand((2, m + others), generator=g) < 0.8
    unhidden[:, -1] = True
    for key_mask in (None, unhidden):
        seen = torch.ones(m + others, m + others, dtype=torch.bool)
        seen[:m, :m] = together(windows)
        full = seen.expand(2, -1, -1) if key_mask is None else seen & key_mask[:, None]
        local = attend_locally(q, k, v, key_mask, windows)
        torch.testing.assert_close(local, attend(q, k, v, full), atol=1e-5, rtol=0)


def test_cutting_and_joining_is_a_round_trip() -> None:
    windows, cells = Windows((5, 9), 4, 2), torch.randn(3, 45, 6)
    assert windows.cut(cells).shape == (3 * 2 * 3, 16, 6)
    assert windows.join(windows.cut(cells)).equal(cells)


def test_shifted_windows_and_registers_carry_what_is_far_away() -> None:
    """Behind 20 columns nothing changes by the cells alone in two blocks; by the registers it does."""
    net, sample = network(config=LOCAL), random_sample(grid=(4, 24), count=1)
    middle = torch.full_like(sample.subjects.position, 2)
    middle[..., 0] = 12
    sample = replace(sample, subjects=replace(sample.subjects, position=middle))
    context = sample.context.clone()
    context[:, :, 0] = 0

    def corner(changed: bool) -> Tensor:
        seen = net.observe(context if changed else sample.context, sample.subjects, sample.grid, sample.world)
        return torch.as_tensor(seen.cells[:, -1])

    assert not corner(changed=True).equal(corner(changed=False))
    second = net.observe.blocks[1]
    assert isinstance(second, Block)
    second.attention.key_value.weight.zero_()  # nothing passes in it
    assert corner(changed=True).equal(corner(changed=False))


def test_it_answers_the_same_whatever_the_frame_is_padded_with() -> None:
    net, sample = network(config=LOCAL), random_sample(grid=(4, 5))
    padded, where = padded_cells(sample, (6, 9))
    a, b = answers(net, sample), answers(net, padded)
    for name in ("states", "cells", "happens", "value", "end"):
        torch.testing.assert_close(getattr(b, name), getattr(a, name), atol=1e-5, rtol=0)
    torch.testing.assert_close(b.gate[:, where], a.gate, atol=1e-5, rtol=0)


def operations(side: int, window: int) -> int:
    """Count what Observe does on a square map."""
    sample = random_sample(batch=1, grid=(side, side))
    net = network(config=replace(LOCAL, window=window))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # fused kernels are not counted
        net.observe(sample.context, sample.subjects, sample.grid, sample.world)
    return int(counter.get_total_flops())


def test_its_cost_is_linear_in_cells() -> None:
    local, full = (operations(48, window) / operations(24, window) for window in (4, 0))
    assert local == pytest.approx(4, rel=0.1)
    assert full > 8


@pytest.mark.parametrize("settings", [{"window": 1}, {"window": -4}, {"registers": 0}, {"staged": False}])
def test_settings_that_make_no_windows_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="window"):
        replace(LOCAL, **settings)
