"""What a processor can do at best, measured: the ceilings that everything else is compared with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

WARM_UP = 10
"""Steps of a rollout that are not measured"""


@dataclass(frozen=True)
class Machine:
    """What the processor can do at best, measured."""

    operations: float
    """per second, of a large matrix product in a given precision"""
    bandwidth: float
    """bytes per second, read and written, of a large copy"""


def settle(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the mean seconds of ``work``, after one call that warms up."""
    for count in (1, repeats):
        settle(device)
        start = time.perf_counter()
        for _ in range(count):
            work()
        settle(device)
    return (time.perf_counter() - start) / repeats


def counted_operations(work: Callable[[], object]) -> float:
    """Return the floating-point operations of one call of ``work``: matrix products and attention, backwards too.

    PyTorch's own counter does not know the kernel that fuses attention on a processor; here it counts as on a GPU.
    """
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    with FlopCounterMode(display=False, custom_mapping={fused: _attention, backward: _attention_backward}) as counter:
        work()
    return float(counter.get_total_flops())


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _attention_backward(
    grad_out: torch.Size, query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any
) -> int:
    return int(sdpa_backward_flop_count(grad_out, query, key, value))  # type: ignore[no-untyped-call]


def measure_machine(device: torch.device, dtype: torch.dtype) -> Machine:
    """Multiply two large matrices in ``dtype``, copy a large array."""
    side = 8192 if device.type == "cuda" else 2048
    a = torch.randn(side, side, device=device, dtype=dtype)
    source = torch.empty(2**28, device=device, dtype=torch.uint8)
    goal = torch.empty_like(source)
    product = timed(lambda: a @ a, device, 5)
    copy = timed(lambda: goal.copy_(source), device, 5)
    return Machine(2 * side**3 / product, 2 * source.nbytes / copy)
