"""What is measured adds up; nothing here looks at how fast it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.engines.samples import engines
from tests.interfaces.calls import complaint, run
from tests.rollout.samples import model, rollout, scene

from actionparty.config import RolloutConfig
from actionparty.errors import InvalidInputError
from actionparty.performance import bench as benching
from actionparty.performance.bench import (
    bench,
    calls_per_frame,
    largest_below,
    least_bytes,
    number_format,
    step_seconds,
)
from actionparty.performance.machine import WARM_UP, Machine, counted_operations, timed
from actionparty.performance.parts import PARTS, parts_timed
from actionparty.rollout.rollout import BatchRollout, RolloutStep
from actionparty.rollout.scenes import SCENES, save_scene
from actionparty.training.checkpoint import save_weights

CONTRACT = {
    *("device", "threads", "world", "subjects", "cells", "calls_per_frame", "fps_single", "fps_batched", "batch"),
    *("ms_p50", "ms_p95", "peak_mb", "mfu"),
}
"""What a program may read, by the definitions of the metrics"""
MACHINE = Machine(operations=1e9, bandwidth=1e9)


def test_the_parts_of_a_step_make_up_the_step() -> None:
    going = rollout()
    going.reset([scene()], [0])
    with parts_timed(going) as seconds:
        whole = sum(step_seconds(going, 20, np.random.default_rng(0)))
        assert set(seconds) == set(PARTS)
        assert sum(seconds.values()) > 0
    assert sum(seconds.values()) * 20 / (20 + WARM_UP) < 1.5 * whole
    before = dict(seconds)
    going.step([[0, 0, 0]])
    assert seconds == before, "the stopwatch is off again"


def test_floors_and_utilisation_follow_from_what_was_counted() -> None:
    found = bench(model(), [scene(), scene(9)], steps=8, batch=3, machine=MACHINE)
    assert found.calls_per_frame == 4
    assert (found.world, found.subjects, found.cells, found.batch) == ("arena", 3, 42, 3)
    assert found.gflop_per_frame > 0
    assert found.floor_ms_operations == pytest.approx(found.gflop_per_frame * 1e3, rel=0.01)
    assert found.floor_ms_bytes == pytest.approx(found.mb_per_frame, rel=0.01)
    assert found.gap == pytest.approx(found.ms_p50 / max(found.floor_ms_operations, found.floor_ms_bytes), rel=0.1)
    assert found.mfu == pytest.approx(found.gflop_per_frame * found.fps_single, rel=0.05)
    assert found.ms_p50 <= found.ms_p95


def test_the_bytes_that_must_move_are_weights_and_frames() -> None:
    going = rollout()
    going.reset([scene()], [0])
    weights = sum(p.numel() for p in model().parameters())
    assert least_bytes(going) == 4 * weights + (model().config.context + 1) * 42 * 192


def going_in_float32() -> BatchRollout:
    made = rollout()
    made.reset([scene()], [0])
    return made


@pytest.mark.parametrize("name", engines(("torch-bf16",)))
def test_matrices_in_half_the_bits_are_half_the_bytes(name: str) -> None:
    going = BatchRollout(model(), engine=name)
    going.reset([scene()], [0])
    linear = [module for module in model().modules() if isinstance(module, torch.nn.Linear)]
    halved = sum(p.numel() for module in linear for p in module.parameters())
    assert least_bytes(going) == least_bytes(going_in_float32()) - 2 * halved


def test_ceilings_are_measured_in_the_number_format_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.dtype] = []

    def measure(device: torch.device, dtype: torch.dtype) -> Machine:
        asked.append(dtype)
        return MACHINE

    monkeypatch.setattr(benching, "measure_machine", measure)
    bench(model(), [scene()], steps=1, batch=1)
    monkeypatch.setitem(benching._FORMATS, "torch", torch.bfloat16)
    bench(model(), [scene()], steps=1, batch=1)
    assert asked == [torch.float32, torch.bfloat16]
    assert (number_format("torch-bf16"), number_format("onnx")) == (torch.bfloat16, torch.float32)


@pytest.mark.parametrize("inference", [False, True])
def test_attention_counts_its_products_forwards_and_backwards(inference: bool) -> None:
    b, h, s, k, d = 2, 3, 8, 16, 4
    query, key, value = (torch.randn(b, h, rows, d, requires_grad=True) for rows in (s, k, k))
    mask = torch.zeros(s, k)
    product = 2 * b * h * s * k * d

    def attend() -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, mask)

    with torch.inference_mode(inference):
        assert counted_operations(attend) == 2 * product, "scores, and what they weigh"
    back = 5 * product
    """Scores again, the gradients of the odds, of the values, of the queries and of the keys"""
    assert counted_operations(lambda: attend().sum().backward()) == 2 * product + back  # type: ignore[no-untyped-call]


def test_operations_of_a_step_hold_its_attention() -> None:
    going, other = going_in_float32(), going_in_float32()
    whole = counted_operations(lambda: going.step([[0, 0, 0]]))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        apart = counted_operations(lambda: other.step([[0, 0, 0]]))
    assert whole == pytest.approx(apart, rel=1e-6)


def test_network_calls_are_counted_by_the_settings() -> None:
    assert calls_per_frame(model(), RolloutConfig(update_steps=5, render_steps=3)) == 9


@pytest.mark.parametrize(("wrong", "said"), [({"steps": 0}, "steps"), ({"batch": 0}, "batch")])
def test_numbers_below_one_are_refused(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        bench(model(), [scene()], **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"scenes"):
        bench(model(), [])


class _Small(BatchRollout):
    """A rollout on a machine whose memory holds five of them."""

    said = "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"
    most = 5

    def step(self, actions: Any) -> RolloutStep:
        if self.size > self.most:
            raise RuntimeError(self.said)
        return super().step(actions)


def test_a_batch_that_does_not_fit_is_answered_with_the_largest_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benching, "BatchRollout", _Small)
    for batch in (6, 13):
        with pytest.raises(InvalidInputError, match=rf"a batch of {batch} rollouts does not fit .* is 5: --batch 5$"):
            bench(model(), [scene()], steps=1, batch=batch, machine=MACHINE)
    assert bench(model(), [scene()], steps=1, batch=5, machine=MACHINE).batch == 5
    with pytest.raises(InvalidInputError, match="nor does any smaller one"):
        benching._batched_seconds(_too_large, 4, 1, np.random.default_rng(0))


def _too_large(count: int) -> BatchRollout:
    raise MemoryError


def test_other_errors_of_a_batch_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benching, "BatchRollout", _Small)
    monkeypatch.setattr(_Small, "said", "a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        bench(model(), [scene()], steps=1, batch=6, machine=MACHINE)
    with pytest.raises(RuntimeError, match="a bug"):
        benching._fits(lambda count: benching._started(model(), [scene()], count, None, None, None), 6, _rng())


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_largest_that_fits_is_found_whatever_it_is() -> None:
    for size in (*range(1, 34), 100, 1000):
        for most in range(size):
            tried: list[int] = []
            missing = most - largest_below(size, _fits_up_to(most, tried))
            assert 0 <= missing <= (1 + most // 14 if size > 31 else 0)
            assert len(tried) == len(set(tried))
            assert all(0 < count < size for count in tried)


def _fits_up_to(most: int, tried: list[int]) -> Callable[[int], bool]:
    def fits(count: int) -> bool:
        tried.append(count)
        return count <= most

    return fits


def test_memory_is_read_before_operations_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    def noted(what: str, answer: Callable[[], object]) -> Callable[..., object]:
        def called(*_: object) -> object:
            happened.append(what)
            return answer()

        return called

    monkeypatch.setattr(benching, "peak_mb", noted("read", lambda: len(happened)))
    monkeypatch.setattr(benching, "_batched_seconds", noted("batch", lambda: [1.0]))
    monkeypatch.setattr(benching, "_operations", noted("count", lambda: 1.0))
    found = bench(model(), [scene()], steps=1, batch=2, machine=MACHINE)
    assert happened == ["read", "batch", "read", "count"]
    assert (found.peak_mb, found.peak_mb_batched) == (1, 3)


def test_work_is_warmed_up_once_and_then_repeated() -> None:
    calls: list[int] = []
    assert timed(lambda: calls.append(1), torch.device("cpu"), 5) >= 0
    assert len(calls) == 6


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_weights(tmp_path, model().config, model().state_dict(), {})
    save_scene(tmp_path / SCENES / "arena" / "0.npz", scene())
    return tmp_path


def test_the_command_prints_the_contract(checkpoint: Path) -> None:
    line = ("bench", "arena", "--checkpoint", checkpoint, "--steps", 4, "--batch", 2, "--threads", 1)
    found = run(*line, "--json")
    assert set(found) >= CONTRACT
    assert (found["threads"], found["batch"], found["world"]) == (1, 2, "arena")
    assert found["peak_mb_batched"] >= found["peak_mb"] > 0
    shown = run(*line)
    assert shown.count("frames/s") == shown.count("MB at most") == 2
    assert all(part in shown for part in PARTS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--threads", 4096), "this process may use"),
        (("--device", "toaster"), "no such device"),
        (("--device", "meta"), "measured are cpu and cuda"),
    ],
)
def test_what_cannot_be_measured_is_said(checkpoint: Path, options: tuple[object, ...], said: str) -> None:
    assert said in complaint("bench", "arena", "--checkpoint", checkpoint, *options)


def test_an_unknown_world_is_answered_with_the_nearest(checkpoint: Path) -> None:
    assert "arena" in complaint("bench", "arean", "--checkpoint", checkpoint)


def test_a_batch_that_stays_on_the_device_is_measured_when_asked_for() -> None:
    plain = bench(model(), [scene()], steps=1, batch=1, machine=MACHINE)
    assert (plain.fps_resident, plain.resident_waiting) == (None, None)
    found = bench(model(), [scene()], steps=1, batch=2, machine=MACHINE, resident=True)
    assert found.fps_resident is not None
    assert 0 < found.fps_resident < 1e5
    assert found.resident_waiting == 1, "a random network changes more than a quarter of the cells in every step"
