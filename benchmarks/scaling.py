"""Measure how a generated world scales: cost per frame, and obedience of more subjects than were ever trained on.

Run it from the repository's folder. Every command adds its rows to OUT/scaling.json; `draw` makes a picture and the
Markdown tables of them.

Cost: a SMALL network of random weights in which all subjects live and move at random, and nothing else changes, so that
about one cell per subject is drawn in a frame. Synthetic frames: the cost does not depend on what they show.

    python -m benchmarks.scaling cost --threads 1
    python -m benchmarks.scaling cost --threads 2
    python -m benchmarks.scaling cost --threads 1 --window 8        # local attention

Zero-shot number of subjects: an arena of 2, 4, 6 and 9 subjects is four worlds with names of their own, so that one
dataset holds them; with 16 or 32 subjects (larger arenas, colours never seen) it is one that the model does not know.

    python -m benchmarks.scaling record --rows 8000 --data datasets/scaling
    actionparty train datasets/scaling/train --out runs/arena --config benchmarks/configs/arena.json
    python -m benchmarks.scaling subjects --checkpoint runs/arena --world arena --subjects 2 4 6 9 16 32 64
    python -m benchmarks.scaling subjects --checkpoint starter --world collaborative_cooking__crowded --subjects 4 9 12
    python -m benchmarks.scaling subjects --checkpoint starter --world commons_harvest__open --subjects 4 7 16
    python -m benchmarks.scaling draw --picture docs/images/scaling.png
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "0")

import numpy as np
import torch
from benchmarks.scaling_report import COUNT_GRIDS, METRICS, SUBJECTS, Row, draw, keep, markdown

from actionparty.checkpoints import find_checkpoint, fingerprint, read_json
from actionparty.config import ModelConfig, RolloutConfig, model_preset, to_json
from actionparty.data.dataset import load_episodes
from actionparty.data.recording import FIRST_EVALUATION_SEED, record
from actionparty.errors import InvalidInputError
from actionparty.evaluation.evaluate import EvaluationSettings, evaluate
from actionparty.evaluation.labels import build_labels
from actionparty.interfaces.commands_bench import usable_threads
from actionparty.model.network import Network
from actionparty.model.update import ALIVE, JUMP
from actionparty.performance.bench import step_seconds
from actionparty.rollout.rollout import BatchRollout
from actionparty.training.checkpoint import load_network
from actionparty.types import CELL, SCENE_ROWS, Episode, Ints, Observation, Scene, SubjectStates, World, WorldSpec
from actionparty.worlds import catalogue
from actionparty.worlds.arena import ACTIONS, ArenaWorld

GRIDS = ((5, 9), (9, 13), (16, 16), (21, 30), (32, 32), (45, 45), (64, 64))
"""Sizes (h, w), 45 to 4,096 cells: the smallest and the larger boards of Melting Pot, and beyond."""
COUNTS = (1, 2, 4, 8, 16, 32, 64)
TRAINED = (2, 4, 6, 9)
"""Subjects of the arenas that are trained on."""
LABEL_ROWS = 10_000
"""Rows recorded to label tiles, for the detector."""
SHARD_ROWS = 1000
"""Rows of an episode: shorter ones may begin in the middle of a game, where a subject's first picture, its identity in
the rollout, shows what it carries, and models that never saw that obey less."""
ARENA = "arena"


def cost_cases() -> list[tuple[tuple[int, int], int]]:
    """Return every (grid, number of subjects) whose cost is measured, each once."""
    by_cells = [(grid, SUBJECTS) for grid in GRIDS]
    by_subjects = [(grid, count) for grid in COUNT_GRIDS for count in COUNTS]
    return list(dict.fromkeys(by_cells + by_subjects))


def synthetic_scene(grid: tuple[int, int], subjects: int, seed: int = 0) -> Scene:
    """Return a scene of random pixels with ``subjects`` on different cells of a ``grid`` (h, w)."""
    h, w = grid
    rng = np.random.default_rng(seed)
    cells = rng.permutation(h * w)[:subjects]
    place = np.stack([cells % w, cells // w], -1).astype(np.float32)
    alike = (SCENE_ROWS, subjects)
    return Scene(
        WorldSpec("synthetic", subjects, grid, ACTIONS),
        rng.integers(0, 256, (4, h * CELL, w * CELL, 3), dtype=np.uint8),
        SubjectStates(np.broadcast_to(place, (*alike, 2)).copy(), np.zeros(alike, np.int64), np.ones(alike, np.bool_)),
        np.zeros(alike, np.int64),
        rng.integers(0, 256, (subjects, CELL, CELL, 3), dtype=np.uint8),
        "synthetic",
    )


def lively_network(config: ModelConfig) -> Network:
    """Make a network of random weights whose subjects live and move at random; no cell changes but theirs."""
    torch.manual_seed(0)
    network = Network(config)
    gate = network.render.gate[-1]
    assert isinstance(gate, torch.nn.Linear)
    with torch.no_grad():
        network.update.out.weight.normal_(0, config.width**-0.5)
        network.update.out.weight[[ALIVE, JUMP]] = 0
        network.update.out.bias[ALIVE], network.update.out.bias[JUMP] = 1, -1
        gate.weight.zero_()
        gate.bias.fill_(-20)
    return network


def measure_cost(network: Network, grid: tuple[int, int], subjects: int, steps: int) -> Row:
    """Return what one frame of a single rollout costs, decoding to pixels included: medians over ``steps``."""
    drawn: list[int] = []
    hook = network.render.register_forward_hook(lambda _, given, answer: drawn.append(int(given[2].mask.sum())))
    rollout = BatchRollout(network, RolloutConfig())
    rollout.reset([synthetic_scene(grid, subjects)], [0])
    seconds = step_seconds(rollout, steps, np.random.default_rng(0))
    hook.remove()
    return {
        "grid": list(grid),
        "cells": grid[0] * grid[1],
        "subjects": subjects,
        "threads": torch.get_num_threads(),
        "window": network.config.window,
        "ms_p50": round(float(np.percentile(seconds, 50)) * 1e3, 2),
        "ms_p95": round(float(np.percentile(seconds, 95)) * 1e3, 2),
        "cells_drawn": float(np.median(drawn[-steps:])),
        "steps": steps,
    }


class NamedArena:
    """An arena whose name tells how many subjects it has, so that a dataset may hold several."""

    def __init__(self, subjects: int) -> None:
        self._arena = ArenaWorld(subjects)
        self._spec = replace(self._arena.spec, name=f"{ARENA}_{subjects}")

    @property
    def spec(self) -> WorldSpec:
        """What this world is."""
        return self._spec

    def reset(self, *, seed: int | None = None, scene: Scene | None = None) -> Observation:
        """Start an episode as the arena does."""
        return self._arena.reset(seed=seed, scene=scene)

    def step(self, actions: Ints) -> Observation:
        """Advance by one step."""
        return self._arena.step(actions)

    def close(self) -> None:
        """End the episode."""
        self._arena.close()


def make_world(name: str, subjects: int | None = None) -> World:
    """Make ``arena_N`` with N subjects, or any world of the catalogue."""
    if name.startswith(f"{ARENA}_"):
        return NamedArena(int(name.removeprefix(f"{ARENA}_")))
    return catalogue.make_world(name, subjects)


def recorded(folder: Path, world: str, subjects: int, seed: int, rows: int, shard: int) -> list[Episode]:
    """Return episodes of ``rows`` rows of ``world`` with so many subjects, from ``seed`` on; record what is missing."""
    path = folder / f"{world}-{subjects}"
    arena = world == ARENA
    name = f"{ARENA}_{subjects}" if arena else world
    done = record([name], rows, seed, 1, path, "mixed", None if arena else subjects, shard, None, make_world)
    for reason in done.skipped.values():
        raise SystemExit(f"{world} with {subjects} subjects: {reason}")
    training = seed < FIRST_EVALUATION_SEED
    return [e for e in load_episodes(path, [name]) if (e.seed < FIRST_EVALUATION_SEED) == training]


def measure_subjects(
    checkpoint: str,
    world: str,
    subjects: int,
    data: Path,
    settings: EvaluationSettings,
    label_rows: int = LABEL_ROWS,
    shard: int = SHARD_ROWS,
) -> Row:
    """Return how well ``subjects`` subjects of ``world`` obey in a checkpoint's rollouts, by the ordinary metrics."""
    folder = find_checkpoint(checkpoint)
    network, sampling = load_network(folder), RolloutConfig()
    shard = max(shard, settings.horizon + settings.context + 1)
    held_out = recorded(data, world, subjects, FIRST_EVALUATION_SEED, settings.rollouts * shard, shard)
    labels = build_labels(recorded(data, world, subjects, 0, label_rows, min(shard, label_rows)))
    spec = held_out[0].world
    settings = replace(settings, context=network.config.context)
    report = evaluate(
        lambda _: BatchRollout(network, sampling),
        {spec.name: held_out},
        {spec.name: labels},
        settings,
        checkpoint=fingerprint(folder),
        model_settings=to_json(sampling),
    ).to_json()
    found = report["worlds"][spec.name]
    kept = {key: found[key] for key in (*METRICS, "isolation", "swap", "detector") if key in found}
    intervals = {key: found["ci95"][key] for key in METRICS if key in found["ci95"]}
    about = {"world": world, "subjects": subjects, "grid": list(spec.grid), "known": spec.name in network.config.worlds}
    trained = trained_subjects(read_json(folder / "config.json"), world)
    run = {"rollouts": found["rollouts"], "horizon": settings.horizon, "checkpoint": report["checkpoint"][:12]}
    return {**about, "trained": trained, **run, **kept, "ci95": intervals}


def trained_subjects(about: Mapping[str, Any], world: str) -> list[int]:
    """Return with how many subjects ``world`` (or the arenas) was trained, by what a checkpoint's config.json says."""
    worlds = about.get("about", {}).get("worlds", {})
    names = (name for name in worlds if name == world or (world == ARENA and name.startswith(f"{ARENA}_")))
    return sorted({int(worlds[name]["subjects"]) for name in names})


def run_cost(options: argparse.Namespace) -> None:
    """Measure every case and keep it at once."""
    torch.set_num_threads(usable_threads(options.threads))
    network = lively_network(replace(model_preset("small"), window=options.window))
    about = {"parameters": network.parameters_count, "device": platform.processor() or "cpu"}
    for grid, count in cost_cases():
        if grid[0] * grid[1] > options.most_cells:
            continue
        row = about | measure_cost(network, grid, count, options.steps)
        keep(options.out, "cost", [row], ("window", "threads", "cells", "subjects"))
        print(json.dumps(row), flush=True)


def run_record(options: argparse.Namespace) -> None:
    """Record the arenas to train on into DATA/train."""
    names = [f"{ARENA}_{count}" for count in TRAINED]
    record(names, options.rows, 0, options.workers, options.data / "train", make_world=make_world)
    print(f"{options.data / 'train'}: {options.rows} rows of each of {', '.join(names)}")


def run_subjects(options: argparse.Namespace) -> None:
    """Evaluate a checkpoint with each number of subjects and keep every result at once."""
    settings = EvaluationSettings(options.rollouts, options.horizon, batch=options.batch)
    for count in options.subjects:
        row = measure_subjects(options.checkpoint, options.world, count, options.data, settings, options.label_rows)
        keep(options.out, "subjects", [row], ("world", "subjects"))
        print(json.dumps(row), flush=True)


def run_draw(options: argparse.Namespace) -> None:
    """Draw the picture, print the tables."""
    values = read_json(options.out / "scaling.json")
    draw(values, options.picture)
    print(markdown(values))


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(required=True)
    cost = commands.add_parser("cost", help="milliseconds a frame by cells and subjects")
    cost.add_argument("--threads", type=int, default=2)
    cost.add_argument("--window", type=int, default=0, help="cells a side that see each other; 0: all do")
    cost.add_argument("--steps", type=int, default=30)
    cost.add_argument("--most-cells", type=int, default=GRIDS[-1][0] * GRIDS[-1][1])
    cost.set_defaults(run=run_cost)
    making = commands.add_parser("record", help="record the arenas to train on")
    making.add_argument("--rows", type=int, default=8000, help="of each number of subjects")
    making.add_argument("--workers", type=int, default=2)
    making.set_defaults(run=run_record)
    counts = commands.add_parser("subjects", help="evaluate with numbers of subjects never trained on")
    counts.add_argument("--checkpoint", required=True)
    counts.add_argument("--world", default=ARENA)
    counts.add_argument("--subjects", type=int, nargs="+", default=[4, 9, 16, 32])
    counts.add_argument("--rollouts", type=int, default=20)
    counts.add_argument("--horizon", type=int, default=100)
    counts.add_argument("--batch", type=int, default=10)
    counts.add_argument("--label-rows", type=int, default=LABEL_ROWS)
    counts.set_defaults(run=run_subjects)
    for command in (making, counts):
        command.add_argument("--data", type=Path, default=Path("datasets/scaling"))
    drawing = commands.add_parser("draw", help="draw the picture, print the tables")
    drawing.add_argument("--picture", type=Path, default=Path("docs/images/scaling.png"))
    drawing.set_defaults(run=run_draw)
    for command in (cost, counts, drawing):
        command.add_argument("--out", type=Path, default=Path("outputs/scaling"))
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and do it."""
    top = parser()
    options = top.parse_args(arguments)
    try:
        options.run(options)
    except InvalidInputError as error:
        top.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
