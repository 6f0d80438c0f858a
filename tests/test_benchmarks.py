"""The scaling benchmark measures what it says; nothing here looks at a clock."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import model_sizes
from benchmarks.bench_picture import draw as draw_bench
from benchmarks.environment_speed import measure as measure_environment
from benchmarks.environment_speed import share_of_observing
from benchmarks.known_tiles import known_shares
from benchmarks.ray_cluster import modelled
from benchmarks.scaling import (
    GRIDS,
    NamedArena,
    cost_cases,
    lively_network,
    make_world,
    measure_cost,
    measure_subjects,
    synthetic_scene,
    trained_subjects,
)
from benchmarks.scaling_report import draw, keep, markdown, merge
from benchmarks.training_speed import measure, saved_bytes
from PIL import Image
from tests.interfaces.calls import run
from tests.training.samples import play

from actionparty.checkpoints import read_json
from actionparty.config import MODEL_PRESETS, ModelConfig, TrainConfig, from_json
from actionparty.data.clips import WorldClips
from actionparty.data.dataset import load_episodes
from actionparty.data.recording import record
from actionparty.data.tables import WorldTable
from actionparty.environment.make import vector_env
from actionparty.errors import InvalidInputError
from actionparty.evaluation.evaluate import EvaluationSettings
from actionparty.performance.machine import Machine
from actionparty.rollout.rollout import BatchRollout
from actionparty.training.checkpoint import load_network, save_weights
from actionparty.training.trainer import Trainer
from actionparty.types import World
from actionparty.worlds.arena import ArenaWorld

TINY = MODEL_PRESETS["tiny"]
ROOT = Path(__file__).resolve().parents[1]


def cost_row(cells: tuple[int, int], subjects: int, threads: int = 1, ms: float = 12.0) -> dict[str, Any]:
    about = {"grid": list(cells), "cells": cells[0] * cells[1], "subjects": subjects, "threads": threads, "window": 0}
    return about | {"ms_p50": ms, "ms_p95": 2 * ms, "cells_drawn": 7.0}


def subjects_row(subjects: int, sa1: float) -> dict[str, Any]:
    metrics = {"ma1": 0.5, "sa1": sa1, "sp_mean": 1.0, "detector": 1.0, "ci95": {"sa1": [sa1 - 0.1, sa1]}}
    return {"world": "arena", "subjects": subjects, "grid": [9, 11], "trained": [2, 4], **metrics}


def test_the_cases_cover_the_range_once() -> None:
    cases = cost_cases()
    assert len(cases) == len(set(cases))
    assert [h * w for h, w in GRIDS][:: len(GRIDS) - 1] == [45, 4096]
    assert {n for _, n in cases} == {1, 2, 4, 8, 16, 32, 64}


@pytest.mark.parametrize(("grid", "subjects"), [((5, 9), 8), ((9, 13), 64), ((4, 16), 64)])
def test_synthetic_scenes_hold_so_many_subjects_on_cells_of_their_own(grid: tuple[int, int], subjects: int) -> None:
    scene = synthetic_scene(grid, subjects)
    assert len(np.unique(scene.states.cells[-1], axis=0)) == subjects
    assert scene.states.alive.all()
    assert (scene.frames == synthetic_scene(grid, subjects).frames).all()


def test_in_the_measured_network_everybody_lives_and_somebody_moves() -> None:
    rollout = BatchRollout(lively_network(TINY))
    rollout.reset([synthetic_scene((9, 13), 8)], [0])
    before = rollout.last()
    moved = 0
    for _ in range(10):
        after = rollout.step(np.zeros((1, 8), np.int64))
        assert after.states.alive.all()
        changed = (before.frames != after.frames).reshape(9, 8, 13, 8, 3).any((1, 3, 4))
        moved += int((before.states.position != after.states.position).any(-1).sum())
        assert changed.sum() <= 2 * 8
        before = after
    assert moved > 8


def test_the_cost_says_what_was_measured() -> None:
    row = measure_cost(lively_network(TINY), (5, 9), 3, steps=2)
    assert (row["cells"], row["subjects"], row["steps"], row["threads"]) == (45, 3, 2, torch.get_num_threads())
    assert row["ms_p95"] >= row["ms_p50"] > 0
    assert 0 <= row["cells_drawn"] <= 6


def test_a_named_arena_is_the_arena() -> None:
    named, plain = make_world("arena_16"), ArenaWorld(16)
    assert isinstance(named, World)
    assert (named.spec.name, named.spec.grid, named.spec.subjects) == ("arena_16", plain.spec.grid, 16)
    np.testing.assert_array_equal(named.reset(seed=3).frame, plain.reset(seed=3).frame)
    chosen = np.full(16, plain.spec.action_index("forward"))
    np.testing.assert_array_equal(named.step(chosen).frame, plain.step(chosen).frame)
    named.close()
    with pytest.raises(InvalidInputError, match="65 subjects"):
        NamedArena(65)
    assert make_world("arena", 5).spec.subjects == 5


def test_one_dataset_holds_arenas_of_several_numbers(tmp_path: Path) -> None:
    record(["arena_2", "arena_9"], 20, 0, 1, tmp_path / "set", make_world=make_world)
    found = {e.world.name: e for e in load_episodes(tmp_path / "set", on_damage="raise")}
    assert {name: e.world.subjects for name, e in found.items()} == {"arena_2": 2, "arena_9": 9}
    assert len(WorldClips([found["arena_9"]])) == 19


def test_the_recipe_is_one() -> None:
    recipe = read_json(ROOT / "benchmarks" / "configs" / "arena.json")
    assert from_json(ModelConfig, recipe["model"]) == replace(
        MODEL_PRESETS["small"], rest_clock=False, palette=False, deep_heads=False
    ), "as measured"
    assert from_json(TrainConfig, recipe["train"]).frames > 0


def test_more_subjects_than_were_trained_are_measured(tmp_path: Path) -> None:
    config = ModelConfig(**{**vars(TINY), "worlds": ("arena_2", "arena_4")})
    about = {"worlds": {f"arena_{n}": {"subjects": n} for n in (4, 2)} | {"coins": {"subjects": 2}}}
    save_weights(tmp_path / "weights", config, lively_network(config).state_dict(), about)
    settings = EvaluationSettings(2, 4, steps_per_episode=2, probes_per_episode=1, batch=2)
    row = measure_subjects(str(tmp_path / "weights"), "arena", 12, tmp_path / "data", settings, 40, shard=20)
    assert (row["subjects"], row["trained"], row["known"], row["rollouts"], row["horizon"]) == (12, [2, 4], False, 2, 4)
    assert 0 < row["detector"] <= 1
    assert row["alive"] == 1
    assert 0 < row["sa1"] < 0.9, "its subjects move at random"
    assert {"ma1", "ma", "sp_mean", "ci95"} <= set(row)
    again = {p: p.read_bytes() for p in (tmp_path / "data").rglob("*.parquet")}
    assert measure_subjects(str(tmp_path / "weights"), "arena", 12, tmp_path / "data", settings, 40, shard=20) == row
    assert {p: p.read_bytes() for p in (tmp_path / "data").rglob("*.parquet")} == again


def test_what_a_checkpoint_was_trained_on() -> None:
    about = {"about": {"worlds": {"arena_9": {"subjects": 9}, "arena_2": {"subjects": 2}, "coins": {"subjects": 2}}}}
    assert trained_subjects(about, "arena") == [2, 9]
    assert trained_subjects(about, "coins") == [2]
    assert trained_subjects({}, "coins") == []


def test_rows_are_added_or_replaced(tmp_path: Path) -> None:
    old = [cost_row((5, 9), 8), cost_row((9, 13), 8)]
    new = [cost_row((9, 13), 8, ms=3.0), cost_row((5, 9), 8, threads=2)]
    kept = merge(old, new, ("threads", "cells", "subjects"))
    assert [(r["threads"], r["cells"], r["ms_p50"]) for r in kept] == [(1, 45, 12.0), (1, 117, 3.0), (2, 45, 12.0)]
    keep(tmp_path / "out", "cost", old, ("threads", "cells", "subjects"))
    keep(tmp_path / "out", "cost", new, ("threads", "cells", "subjects"))
    assert read_json(tmp_path / "out" / "scaling.json") == {"cost": kept, "subjects": []}


def test_tables_and_picture_hold_every_row(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    values: dict[str, list[dict[str, Any]]] = {
        "cost": [cost_row((5, 9), 8), cost_row((9, 13), 8, ms=20.5) | {"window": 8}, cost_row((64, 64), 8, ms=900)],
        "subjects": [subjects_row(4, 0.9), subjects_row(16, 0.8)],
    }
    lines = markdown(values).splitlines()
    assert "| 64 x 64 | 4,096 | 8 | 1 | all cells | 900.0 | 1800.0 | 7 |" in lines
    assert "| 9 x 13 | 117 | 8 | 1 | windows of 8 x 8 | 20.5 | 41.0 | 7 |" in lines
    assert "| arena | 16 | 2, 4 | 9 x 11 | 0.500 | - | 0.800 [0.700, 0.800] | - | 1.000 | - | 1.000 |" in lines
    assert len(lines) == 2 + 3 + 1 + 2 + 2
    parts: list[dict[str, list[dict[str, Any]]]] = [{}, {"cost": []}, {"subjects": []}]
    for part in parts:
        draw(values | part, tmp_path / "pictures" / "scaling.png")
        with Image.open(tmp_path / "pictures" / "scaling.png") as picture:
            assert picture.format == "PNG"
            assert picture.width == 1650


def test_a_modelled_cluster_is_as_fast_as_its_actors_until_the_driver_is_full() -> None:
    few, many = (modelled(actors, 1000, 0.05, 72_000_000) for actors in (10, 100))
    assert few == pytest.approx((10_000, 2, 22))
    assert many == pytest.approx((20_000, 1, 101))
    assert modelled(64, 1000, 0.001, 1000)[1] == pytest.approx(1 / 3600)  # a shard is never split


def test_operations_and_kept_bytes_of_a_training_step_are_counted(tmp_path: Path) -> None:
    clips = {"arena": WorldClips([play(20, 0)])}
    run = Trainer(tmp_path, TINY, TrainConfig(batch=4, bf16="off"), clips, torch.device("cpu"))
    found = measure(run, Machine(operations=1e9, bandwidth=1e9), steps=1)
    tokens, width, layers = 4 * (42 + 2), TINY.width, TINY.observe_layers
    least = 3 * 2 * tokens * 12 * width**2 * layers
    """Forward and twice as much backward, of the matrices of Observe's blocks alone."""
    operations = float(str(found["gflop_per_frame"])) * 1e9 * 4
    assert operations > least
    assert float(str(found["floor_ms_operations"])) == pytest.approx(operations / 1e9 * 1e3, rel=0.05)
    assert found["frames_per_step"] == 4
    weight = torch.ones(8, 16, requires_grad=True)
    x = torch.ones(4, 8)
    assert saved_bytes(lambda: x @ weight) == x.nbytes
    assert saved_bytes(lambda: (x @ weight).exp()) == x.nbytes + 4 * 16 * 4


def test_the_picture_of_bench_has_every_part_at_its_length_and_the_higher_floor(tmp_path: Path) -> None:
    about = {"engine": "torch", "threads": 2, "fps_single": 50.0, "floor_ms_operations": 3.0, "floor_ms_bytes": 1.0}
    rows = [
        about | {"world": "a", "parts_ms": {"observe": 8.0, "decode": 2.0, "other": 1.0}},
        about | {"world": "b", "parts_ms": {"observe": 4.0, "update": 5.0}},
    ]
    axis = draw_bench(rows, tmp_path / "new" / "bench.png").axes[0]
    drawn = [(bar.get_x(), bar.get_width()) for bars in axis.containers for bar in bars if bar.get_width()]
    assert drawn == [(0, 8), (0, 4), (4, 5), (8, 2), (10, 1)]
    assert np.asarray(axis.lines[0].get_xdata()).tolist() == [3.0, 3.0]
    with Image.open(tmp_path / "new" / "bench.png") as picture:
        assert picture.width > 500


def test_the_share_of_known_tiles_is_that_of_changed_cells() -> None:
    held_out = WorldTable.of([play(30, 1)])
    seen = np.unique(held_out.grid[1:][held_out.grid[1:] != held_out.grid[:-1]])
    shows = held_out.grid[1:][held_out.grid[1:] != held_out.grid[:-1]]
    assert known_shares(held_out, held_out) == (1, 1)
    fewer = replace(held_out, tiles=np.delete(held_out.tiles, seen[0], 0))
    tile, change = known_shares(fewer, held_out)
    assert tile == pytest.approx((shows != seen[0]).mean())
    assert 0 < change <= tile


def test_every_size_is_trained_evaluated_and_timed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worlds = ["arena"]
    record(worlds, 60, 0, 1, tmp_path / "train", shard_steps=30)
    record(worlds, 60, 1_000_000, 1, tmp_path / "held-out", shard_steps=30)
    folders = {"--data": "train", "--held-out": "held-out", "--out": "sizes", "--picture": "curve.png"}
    words = [word for option, name in folders.items() for word in (option, str(tmp_path / name))]
    words += ["--world", "arena", "--size", "tiny", "--frames", "64", "--rollouts", "2", "--horizon", "10"]
    options = model_sizes.parser().parse_args(words)
    real, commands = model_sizes.run, list[str]()

    def once(*words: str) -> None:
        """Run the first command in a process of its own, as the benchmark does, and the others in this one."""
        (run if commands else real)(*words)
        commands.append(words[0])

    monkeypatch.setattr(model_sizes, "run", once)
    sizes = model_sizes.compare(options)
    parameters = load_network(options.out / "tiny/weights").parameters_count
    assert [(size.name, size.parameters) for size in sizes] == [("tiny", parameters)]
    assert sizes[0].ms > 0
    assert all(0 <= sizes[0].metrics[key] <= 1 for key in model_sizes.METRICS)
    report = read_json(options.out / "tiny/report/report.json")["worlds"]["arena"]
    assert sizes[0].metrics["ma1"] == report["ma1"]
    assert commands == ["train", "evaluate"]
    assert model_sizes.compare(options) == sizes
    assert commands == ["train", "evaluate", "train"], "what is measured is not measured again"
    assert f"{sizes[0].metrics['ma']:.3f}" in model_sizes.markdown(sizes)
    model_sizes.draw(sizes, options.picture)
    with Image.open(options.picture) as picture:
        assert picture.size == (704, 440)


def test_the_speed_of_environments_counts_the_steps_of_every_world(monkeypatch: pytest.MonkeyPatch) -> None:
    hundredths = itertools.count()
    monkeypatch.setattr("time.perf_counter", lambda: next(hundredths) / 100)
    worlds = vector_env("arena", 3, backend="arena")
    found = measure_environment(worlds, 0.05)
    assert found["ms_p50"] == found["ms_p95"] == 10
    assert (found["worlds"], found["subjects"], found["steps_per_second"]) == (3, 4, 300)
    assert found["calls"] in (5, 6), "a sum of hundredths is rounded"
    assert share_of_observing(worlds, 2) == 5
