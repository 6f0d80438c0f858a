"""What a larger model buys: train TINY, SMALL and BASE on the same frames, evaluate each, time each, draw the curve.

What is finished is not done again, so a stopped comparison goes on. Prints Markdown.

python benchmarks/model_sizes.py --data datasets/all --held-out datasets/all-heldout --world coins --world daycare
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "0")

import numpy as np
import torch
from matplotlib.figure import Figure

from actionparty.checkpoints import find_checkpoint, read_json, write_json
from actionparty.config import MODEL_PRESETS
from actionparty.data.dataset import load_episodes
from actionparty.performance.bench import step_seconds
from actionparty.rollout.rollout import BatchRollout
from actionparty.training.checkpoint import load_network

METRICS = {"ma1": "MA@1", "ma1_moving": "MA@1 moving", "ma": "MA", "sp_mean": "SP", "changed_tile": "changed tiles"}
TIMED_STEPS = 100


@dataclass(frozen=True)
class Size:
    """What was measured of one size, the means over all worlds."""

    name: str
    parameters: int
    seconds: float
    """Training time"""
    ms: float
    """Median of a frame of one rollout, one thread, decode included"""
    metrics: Mapping[str, float]


def run(*words: str) -> None:
    """Run an actionparty command, its output shown."""
    print("actionparty", *words, flush=True)
    subprocess.run([sys.executable, "-m", "actionparty.interfaces.cli", *words], check=True)


def train(name: str, options: argparse.Namespace) -> Path:
    """Train a size, or go on with it; return its run folder."""
    folder: Path = options.out / name
    worlds = [word for world in options.world for word in ("--world", world)]
    fresh = ["--size", name, "--frames", str(options.frames)]
    resume = ["--resume"] if (folder / "run.json").exists() else fresh
    run("train", str(options.data), *worlds, *resume, "--out", str(folder))
    return folder


def evaluate(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Evaluate a run, or go on with that; return its report."""
    out = folder / "report"
    numbers = ["--rollouts", str(options.rollouts), "--horizon", str(options.horizon)]
    run("evaluate", str(folder), "--data", str(options.held_out), *numbers, "--out", str(out))
    return read_json(out / "report.json")


def milliseconds(folder: Path, held_out: Path, worlds: Sequence[str]) -> float:
    """Return the median milliseconds of a frame of one rollout, the mean over ``worlds``, with one thread."""
    torch.set_num_threads(1)
    network = load_network(find_checkpoint(folder))
    medians = []
    for world in worlds:
        episode = next(iter(load_episodes(held_out, [world])))
        rollout = BatchRollout(network)
        rollout.reset([episode.scene(network.config.memory, network.config.context)], [0])
        medians.append(float(np.median(step_seconds(rollout, TIMED_STEPS, np.random.default_rng(0)))) * 1e3)
    return float(np.mean(medians))


def compare(options: argparse.Namespace) -> list[Size]:
    """Train, evaluate and time every size; each is kept as soon as it is known."""
    sizes = []
    for name in options.size:
        folder = train(name, options)
        kept = folder / "size.json"
        if not kept.exists():
            rows = evaluate(folder, options)["worlds"].values()
            metrics = {key: float(np.mean([row[key] for row in rows])) for key in METRICS}
            about = read_json(find_checkpoint(folder) / "config.json")["about"]
            ms = milliseconds(folder, options.held_out, options.world)
            found = {"parameters": about["parameters"], "seconds": about["seconds"], "ms": ms, "metrics": metrics}
            write_json(kept, found)
        sizes.append(Size(name, **read_json(kept)))
    return sizes


def markdown(sizes: Sequence[Size]) -> str:
    """Return a Markdown table, a line for each size."""
    lines = [f"| size | parameters | training, minutes | ms a frame | {' | '.join(METRICS.values())} |"]
    lines.append("|---" * (4 + len(METRICS)) + "|")
    for size in sizes:
        cells = [f"{size.metrics[key]:.3f}" for key in METRICS]
        about = f"{size.name.upper()} | {size.parameters:,} | {size.seconds / 60:.1f} | {size.ms:.1f}"
        lines.append(f"| {about} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(sizes: Sequence[Size], path: Path) -> None:
    """Draw quality against milliseconds a frame."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axis = figure.subplots()
    for key, label in METRICS.items():
        axis.plot([size.ms for size in sizes], [size.metrics[key] for size in sizes], marker="o", label=label)
    for size in sizes:
        axis.annotate(size.name.upper(), (size.ms, 0), xytext=(0, 4), textcoords="offset points", ha="center")
    axis.set(xscale="log", xlabel="milliseconds a frame (one thread)", ylabel="held-out recordings", ylim=(0, 1.02))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", type=Path, required=True)
    made.add_argument("--held-out", type=Path, required=True)
    made.add_argument("--world", action="append", required=True)
    made.add_argument("--size", nargs="*", choices=MODEL_PRESETS, default=list(MODEL_PRESETS))
    made.add_argument("--frames", type=int, default=6000, help="that every size learns from")
    made.add_argument("--rollouts", type=int, default=8)
    made.add_argument("--horizon", type=int, default=100)
    made.add_argument("--out", type=Path, default=Path("outputs/sizes"))
    made.add_argument("--picture", type=Path, default=Path("docs/images/model-sizes.png"))
    return made


def main() -> None:
    """Read the options; train, evaluate, time, compare."""
    options = parser().parse_args()
    sizes = compare(options)
    print(markdown(sizes))
    draw(sizes, options.picture)


if __name__ == "__main__":
    main()
