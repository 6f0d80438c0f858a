"""What recording on Ray costs: frames a second here with processes and with actors, and a model of larger clusters.

    python -m benchmarks.ray_cluster --rows 40000 --repeat 3

A cluster's frames a second are modelled as min(n r, S / c): n actors give r each, until the driver, who takes c seconds
to write and commit a shard of S rows, has no time for more. Network and file system beyond this machine are not in it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from actionparty.data.crew import LocalCrew, MakeCrew
from actionparty.data.dataset import commit, create_or_open, open_dataset
from actionparty.data.files import write_atomic
from actionparty.data.ray_crew import RayCrew, cluster
from actionparty.data.recording import record
from actionparty.data.shards import PARTS, shard_path

ROWS_OF_A_SHARD = 1000
ACTORS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def frames_per_second(world: str, rows: int, workers: int, crew: MakeCrew) -> float:
    """Return how fast ``rows`` rows are recorded into a dataset that is thrown away; starting workers is included."""
    with TemporaryDirectory() as folder:
        return rows / record([world], rows, 0, workers, Path(folder) / "set", make_crew=crew).seconds


def commit_seconds(world: str, shards: int = 20) -> float:
    """Return the median time in which the driver writes and commits a shard that arrived."""
    with TemporaryDirectory() as folder:
        record([world], shards * ROWS_OF_A_SHARD, 0, 2, Path(folder) / "set")
        source, copy = open_dataset(Path(folder) / "set"), create_or_open(Path(folder) / "copy")
        staged, seconds = Path(folder) / "staged", []
        for shard in source.shards.values():
            arrived = {part: shard_path(source.path / shard.name, part).read_bytes() for part in PARTS}
            began = time.monotonic()
            for part, content in arrived.items():
                write_atomic(shard_path(staged, part), content)
            commit(copy, shard, staged)
            seconds.append(time.monotonic() - began)
    return statistics.median(seconds)


def modelled(actors: int, rate: float, commit: float, rows: int) -> tuple[float, float, float]:
    """Return frames a second, hours and core-hours (the driver's core is one more) for ``rows`` rows by ``actors``."""
    speed = min(actors * rate, ROWS_OF_A_SHARD / commit)
    rounds = math.ceil(rows / (ROWS_OF_A_SHARD * actors)) * ROWS_OF_A_SHARD / rate
    hours = max(rounds, rows / speed) / 3600
    return speed, hours, (actors + 1) * hours


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, then print the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="arena")
    parser.add_argument("--rows", type=int, default=40_000, help="rows of each measurement")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--wanted", type=int, default=100_000_000, help="rows that the model is about")
    given = parser.parse_args(arguments)
    print("| workers | processes, frames/s | actors, frames/s |\n|---|---|---|")
    with cluster("local"):
        for workers in (1, 2):
            speeds: dict[MakeCrew, list[float]] = {LocalCrew: [], RayCrew: []}
            for _ in range(given.repeat):
                for crew, found in speeds.items():
                    found.append(frames_per_second(given.world, given.rows, workers, crew))
            cells = (f"{statistics.median(v):,.0f} ({min(v):,.0f} to {max(v):,.0f})" for v in speeds.values())
            print(f"| {workers} | {' | '.join(cells)} |", flush=True)
        rate = statistics.median(speeds[RayCrew]) / 2
    commit = commit_seconds(given.world)
    print(f"\nc = {commit * 1000:.1f} ms a shard, r = {rate:,.0f} frames/s an actor (of two)\n")
    print(f"| actors (modelled) | frames/s | hours for {given.wanted:,} rows | core-hours |\n|---|---|---|---|")
    for actors in ACTORS:
        speed, hours, cost = modelled(actors, rate, commit, given.wanted)
        print(f"| {actors} | {speed:,.0f} | {hours:,.2f} | {cost:,.1f} |")


if __name__ == "__main__":
    main()
