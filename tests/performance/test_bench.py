"""What is measured adds up; nothing here looks at how fast it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.interfaces.calls import complaint, run
from tests.rollout.samples import model, rollout, scene

from actionparty.config import RolloutConfig
from actionparty.errors import InvalidInputError
from actionparty.performance.bench import WARM_UP, bench, calls_per_frame, least_bytes, step_seconds
from actionparty.performance.machine import Machine, timed
from actionparty.performance.parts import PARTS, parts_timed
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


def test_network_calls_are_counted_by_the_settings() -> None:
    assert calls_per_frame(model(), RolloutConfig(update_steps=5, render_steps=3)) == 9


@pytest.mark.parametrize(("wrong", "said"), [({"steps": 0}, "steps"), ({"batch": 0}, "batch")])
def test_numbers_below_one_are_refused(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        bench(model(), [scene()], **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"scenes"):
        bench(model(), [])


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
    shown = run(*line)
    assert "frames/s" in shown
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
