"""Measure how fast a world is generated, decoding to pixels included: alone, in a batch, by part, against the machine.

Two floors lie under a frame: its operations at the speed of a large matrix product, and the bytes that must move at
least (all weights once, the frames read and the frame written) at the speed of a large copy.
"""

from __future__ import annotations

import gc
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from actionparty.config import RolloutConfig
from actionparty.engines.choice import TORCH
from actionparty.errors import InvalidInputError, no_memory
from actionparty.model.network import Network
from actionparty.performance.machine import WARM_UP, Machine, counted_operations, measure_machine, settle
from actionparty.performance.parts import PARTS, parts_timed
from actionparty.performance.resident import resident_rate
from actionparty.rollout.rollout import BatchRollout
from actionparty.types import CELL_CHANNELS, Scene

TRIAL = 2
"""Steps after which a batch is taken to fit into memory."""
_FORMATS = {"torch-bf16": torch.bfloat16}
"""Of engines whose matrices are all in another number format than float32."""


@dataclass(frozen=True)
class Bench:
    """What was measured of one world; times are wall times with pixels decoded."""

    device: str
    engine: str
    """What ran the network, see ``config.ENGINES``"""
    threads: int
    world: str
    subjects: int
    cells: int
    calls_per_frame: int
    """Network calls: observe, each update step, each render step"""
    fps_single: float
    """World frames per second of one rollout"""
    fps_batched: float
    fps_resident: float | None
    """The same batch while frames and actions stay on the device (``ResidentRollout``, run by PyTorch); None: not
    measured"""
    resident_waiting: float | None
    """Share of the steps of those rollouts in which cells had to wait for room"""
    batch: int
    ms_p50: float
    """Milliseconds of a step of one rollout"""
    ms_p95: float
    peak_mb: int
    """Most memory that the process (on a GPU: PyTorch there) held for one rollout"""
    peak_mb_batched: int
    """The same once the batch had run too"""
    mfu: float | None
    """Share of the machine's measured operations per second that one rollout uses"""
    parts_ms: dict[str, float] = field(default_factory=dict)
    """Mean milliseconds of a step by part, measured apart; ``other`` is what the parts leave"""
    gflop_per_frame: float = 0.0
    mb_per_frame: float = 0.0
    floor_ms_operations: float = 0.0
    floor_ms_bytes: float = 0.0
    gap: float = 0.0
    """Median time of a step over the higher floor"""
    peak_gflops: float = 0.0
    bandwidth_gb_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``actionparty bench --json`` prints."""
        return asdict(self)


def bench(
    network: Network,
    scenes: Sequence[Scene],
    steps: int = 100,
    batch: int = 16,
    settings: RolloutConfig | None = None,
    device: torch.device | None = None,
    machine: Machine | None = None,
    engine: str | None = None,
    *,
    resident: bool = False,
    compiled: bool = False,
) -> Bench:
    """Measure ``network`` from ``scenes`` of one world over ``steps`` steps with random actions; takes seconds.

    Operations are counted as PyTorch does them, whatever ``engine`` runs the network. The batch is measured again as
    ``resident``, and then ``compiled`` or not.

    Raises:
        InvalidInputError: a number below 1, no scene, or a batch that does not fit into memory (what does is said).
    """
    for name, value in (("steps", steps), ("batch", batch), ("scenes", len(scenes))):
        if value < 1:
            raise InvalidInputError(f"{name} must be at least 1, but is {value}.")
    rng = np.random.default_rng(0)
    single = _started(network, scenes, 1, settings, device, engine)
    seconds = step_seconds(single, steps, rng)
    parts = _parts(single, max(1, steps // 4), rng)
    peak = peak_mb(single.device)

    def many(count: int) -> BatchRollout:
        return _started(network, scenes, count, settings, device, single.engine.name)

    batched = _batched_seconds(many, batch, max(4, steps // batch), rng)
    stayed: tuple[float | None, float | None] = (None, None)
    if resident:
        stayed = resident_rate(network, scenes, batch, max(4, steps // batch), single, compiled)
    peak_batched = peak_mb(single.device)
    operations = _operations(_started(network, scenes, 1, settings, device, TORCH), rng)
    best = machine or measure_machine(single.device, number_format(single.engine.name))
    moved = least_bytes(single)
    floors = operations / best.operations * 1e3, moved / best.bandwidth * 1e3
    p50, p95 = (float(np.percentile(seconds, share)) * 1e3 for share in (50, 95))
    spec = single.spec
    return Bench(
        device=device_name(single.device),
        engine=single.engine.name,
        threads=torch.get_num_threads(),
        world=spec.name,
        subjects=spec.subjects,
        cells=spec.grid[0] * spec.grid[1],
        calls_per_frame=calls_per_frame(network, single.settings),
        fps_single=round(len(seconds) / sum(seconds), 1),
        fps_batched=round(batch * len(batched) / sum(batched), 1),
        fps_resident=stayed[0],
        resident_waiting=stayed[1],
        batch=batch,
        ms_p50=round(p50, 2),
        ms_p95=round(p95, 2),
        peak_mb=peak,
        peak_mb_batched=peak_batched,
        mfu=round(operations * len(seconds) / sum(seconds) / best.operations, 4),
        parts_ms=parts,
        gflop_per_frame=round(operations / 1e9, 4),
        mb_per_frame=round(moved / 1e6, 2),
        floor_ms_operations=round(floors[0], 3),
        floor_ms_bytes=round(floors[1], 3),
        gap=round(p50 / max(floors), 1),
        peak_gflops=round(best.operations / 1e9, 1),
        bandwidth_gb_s=round(best.bandwidth / 1e9, 1),
    )


def step_seconds(rollout: BatchRollout, steps: int, rng: np.random.Generator) -> list[float]:
    """Return the seconds of each of ``steps`` steps with random actions, after a warm-up."""
    seconds = []
    for _ in range(WARM_UP + steps):
        actions = _actions(rollout, rng)
        settle(rollout.device)
        start = time.perf_counter()
        rollout.step(actions)
        settle(rollout.device)
        seconds.append(time.perf_counter() - start)
    return seconds[WARM_UP:]


def largest_below(size: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number below ``size`` that ``fits`` (then all below it do too), 0 where none does.

    Above 32 it may be up to a sixteenth too small: every trial takes long where much fits.
    """
    low, high = size // 2, size
    while low and not fits(low):
        low, high = low // 2, low
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def number_format(engine: str) -> torch.dtype:
    """Return the format in which ``engine`` multiplies matrices; one with 8 bits in some is held against float32."""
    return _FORMATS.get(engine, torch.float32)


def least_bytes(rollout: BatchRollout) -> int:
    """Return the bytes that a step of one rollout must move: weights, context frames, the next frame.

    Matrices are in the number format of the engine, all else is as it was loaded.
    """
    network, (h, w) = rollout.network, rollout.spec.grid
    matrices = {p for module in network.modules() if isinstance(module, nn.Linear) for p in module.parameters()}
    width = number_format(rollout.engine.name).itemsize
    weights = sum(p.numel() * (width if p in matrices else p.element_size()) for p in network.parameters())
    return weights + (network.config.context + 1) * h * w * CELL_CHANNELS


def calls_per_frame(network: Network, settings: RolloutConfig) -> int:
    """Return how often the network is called for a frame."""
    return settings.update_steps if network.joint is not None else 1 + settings.update_steps + settings.render_steps


def peak_mb(device: torch.device) -> int:
    """Return the most megabytes held so far: by PyTorch on a GPU, else by this process."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return round(kilobytes / 1024)


def device_name(device: torch.device) -> str:
    """Return what people call the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"


def _started(
    network: Network,
    scenes: Sequence[Scene],
    count: int,
    settings: RolloutConfig | None,
    device: torch.device | None,
    engine: str | None,
) -> BatchRollout:
    rollout = BatchRollout(network, settings, device, engine)
    rollout.reset([scenes[k % len(scenes)] for k in range(count)], list(range(count)))
    return rollout


def _actions(rollout: BatchRollout, rng: np.random.Generator) -> Any:
    return rng.integers(len(rollout.spec.actions), size=(rollout.size, rollout.spec.subjects))


def _parts(rollout: BatchRollout, steps: int, rng: np.random.Generator) -> dict[str, float]:
    with parts_timed(rollout) as seconds:
        whole = sum(step_seconds(rollout, steps, rng)) / steps
        found = {part: seconds[part] / (WARM_UP + steps) for part in PARTS if part in seconds}
    found["other"] = max(0.0, whole - sum(found.values()))
    return {part: round(value * 1e3, 3) for part, value in found.items()}


def _batched_seconds(
    make: Callable[[int], BatchRollout], batch: int, steps: int, rng: np.random.Generator
) -> list[float]:
    """Return the seconds of each step of ``batch`` rollouts, or say with ``InvalidInputError`` how many would fit."""
    try:
        return step_seconds(make(batch), steps, rng)
    except Exception as error:
        if not no_memory(error):
            raise
    most = largest_below(batch, lambda count: _fits(make, count, rng))  # here, since the error kept the rollouts alive
    said = f"a batch of {batch} rollouts does not fit into memory"
    if not most:
        raise InvalidInputError(f"{said}, nor does any smaller one; end other programs.")
    near = "about " if most >= 32 else ""
    raise InvalidInputError(f"{said}; the largest that does is {near}{most}: --batch {most}")


def _fits(make: Callable[[int], BatchRollout], count: int, rng: np.random.Generator) -> bool:
    """Whether ``count`` rollouts can be started and stepped in the memory that is left."""
    gc.collect()
    torch.cuda.empty_cache()  # nothing where there is no GPU
    try:
        _stepped(make(count), TRIAL, rng)
    except Exception as error:
        if not no_memory(error):
            raise
        return False
    return True


def _operations(rollout: BatchRollout, rng: np.random.Generator) -> float:
    """Return the floating-point operations of a step, counted by PyTorch while a few run (the cells drawn differ)."""
    rollout.record = False
    return counted_operations(lambda: _stepped(rollout, WARM_UP, rng)) / WARM_UP


def _stepped(rollout: BatchRollout, steps: int, rng: np.random.Generator) -> None:
    for _ in range(steps):
        rollout.step(_actions(rollout, rng))
