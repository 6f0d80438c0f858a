"""Compare ActionParty with what people would use instead, side by side in one process.

Shipped weights make frames in turn with simulusion (DIAMOND), dreamer4 and the real Melting Pot simulator, A-B-A-B.
A pair is a measurement of ours and one of theirs right after it, each of at least `--seconds` and one frame; its ratio
is how many times longer theirs takes. What else runs on the machine slows both sides of a pair, so that ratios stay
fair where absolute figures do not. Reported are the median and the range of the ratios of all pairs.

A *world frame* shows all subjects: of the peers it is one 64x64-pixel picture for one player. A *player-view* is what
one subject sees: ours cuts all subjects' views out of one world frame, a peer makes all players' pictures as one batch.

    pip install -e '.[bench]' "torch==$(python -c 'import torch; print(torch.__version__)')"
    python -m benchmarks.peers --json > outputs/peers.json
    python -m benchmarks.peers --write benchmarks/RESULTS.md
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
from benchmarks.contenders import DREAM, PEERS, SIZES, Contender, Ours, Simulator, make_peer
from benchmarks.peers_report import markdown

from actionparty.checkpoints import find_checkpoint
from actionparty.config import AUTO, ENGINES
from actionparty.errors import ActionPartyError, InvalidInputError, MissingDependencyError
from actionparty.interfaces.commands_bench import usable_threads
from actionparty.interfaces.commands_data import usable_cores
from actionparty.rollout.scenes import scene_worlds

SIMULATOR = "Melting Pot"
UNITS = ("world frame", "player-view")
WARM_UP = DREAM + 1
"""Frames: every length of a dream of dreamer4 once, since it prepares itself for each."""
WORLDS = ("collaborative_cooking__crowded", "clean_up")
WEIGHTS = ("all", "starter")


@dataclass(frozen=True)
class Row:
    """One of ours against one of theirs; milliseconds are medians over the pairs, for one unit."""

    world: str
    subjects: int
    cells: int
    weights: str
    parameters: int
    peer: str
    size: str
    peer_parameters: int
    threads: int
    unit: str
    ours_ms: float
    theirs_ms: float
    ratio: float
    """How many times longer theirs takes: median of the pairs"""
    lowest: float
    highest: float
    pairs: int
    engine: str
    """What ran ours"""


@dataclass(frozen=True)
class Real:
    """The real simulator alone, in several processes at once."""

    world: str
    processes: int
    steps_per_second: float
    """of all processes together, whole frames and states read"""


def measurement(contender: Contender, seconds: float) -> float:
    """Return the mean seconds of a frame, over at least so many seconds and one frame."""
    spent, frames = 0.0, 0
    while not frames or spent < seconds:
        contender.prepare()
        start = time.perf_counter()
        contender.frame()
        spent += time.perf_counter() - start
        frames += 1
    return spent / frames


def warmed(contender: Contender) -> Contender:
    """Let a contender make its first frames, and return it."""
    for _ in range(WARM_UP):
        contender.prepare()
        contender.frame()
    return contender


@cache
def warmed_peer(peer: str, size: str, world: str, actions: int, views: int) -> Contender:
    """Make what ours is compared with, once for all numbers of threads."""
    return warmed(Simulator(world) if peer == SIMULATOR else make_peer(peer, size, actions, views))


def interleaved(ours: Contender, theirs: Contender, pairs: int, seconds: float) -> list[tuple[float, float]]:
    """Return the seconds of a frame of both, ``pairs`` times, measured in turn."""
    return [(measurement(ours, seconds), measurement(theirs, seconds)) for _ in range(pairs)]


def ratios(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Return how many times longer theirs takes: the median over the pairs, the lowest and the highest."""
    found = [theirs / ours for ours, theirs in pairs]
    return statistics.median(found), min(found), max(found)


def compare(
    weights: str, world: str, peer: str, size: str, threads: int, unit: str, options: argparse.Namespace
) -> Row:
    """Measure one row: so many ``pairs`` of ``seconds``, ours run by an ``engine``.

    Raises:
        MissingDependencyError: the peer or the simulator is not installed.
    """
    torch.set_num_threads(threads)
    views = unit == "player-view"
    ours = Ours(weights, world, views=views, engine=options.engine)
    spec = ours.spec
    count = spec.subjects if views else 1
    theirs = warmed_peer(peer, size, world, len(spec.actions), count)
    measured = interleaved(warmed(ours), theirs, options.pairs, options.seconds)
    median, lowest, highest = ratios(measured)
    ms = [statistics.median(column) * 1e3 / count for column in zip(*measured, strict=True)]
    return Row(
        world=world,
        subjects=spec.subjects,
        cells=spec.grid[0] * spec.grid[1],
        weights=weights,
        parameters=ours.parameters,
        peer=peer,
        size=size,
        peer_parameters=theirs.parameters,
        threads=threads,
        unit=unit,
        ours_ms=round(ms[0], 3),
        theirs_ms=round(ms[1], 3),
        ratio=round(median, 5),
        lowest=round(lowest, 5),
        highest=round(highest, 5),
        pairs=options.pairs,
        engine=ours.engine,
    )


def cases(options: argparse.Namespace) -> Iterator[tuple[str, str, str, str, int, str]]:
    """Yield what to compare: weights, world, peer, size, threads, unit."""
    for world in options.world:
        for weights in options.weights:
            if world not in scene_worlds(find_checkpoint(weights)):
                continue
            for threads in options.threads:
                for peer in options.peer:
                    if peer == SIMULATOR:
                        yield weights, world, peer, "", threads, UNITS[0]
                        continue
                    for size in options.size:
                        for unit in UNITS:
                            yield weights, world, peer, size, threads, unit


def simulator_speed(world: str, processes: int, seconds: float) -> Real:
    """Measure the real simulator in ``processes`` at once, each stepping for at least ``seconds``."""
    context = get_context("spawn")
    barrier = context.Barrier(processes)
    with ProcessPoolExecutor(processes, context, _hold, (barrier,)) as pool:
        speeds = list(pool.map(_step_alone, [world] * processes, range(processes), [seconds] * processes))
    return Real(world, processes, round(sum(speeds), 1))


_barrier: Barrier


def _hold(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _step_alone(world: str, seed: int, seconds: float) -> float:
    """Return the steps per second of this process, from when all of them are ready."""
    simulator = Simulator(world, seed)
    try:
        warmed(simulator)
        _barrier.wait(120)
        return 1 / measurement(simulator, seconds)
    finally:
        simulator.close()


def machine() -> dict[str, Any]:
    """Return what all was measured on, and how busy it was with other work before."""
    load = getattr(os, "getloadavg", lambda: (0.0,))()[0]
    return {
        "cpu": _cpu(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "torch": torch.__version__,
        "load_before": round(load, 1),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _cpu() -> str:
    """Return the name of the processor and, where it tells them, its family and model."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    numbers = f" (family {about['cpu family']}, model {about['model']})" if "cpu family" in about else ""
    return about.get("model name", platform.machine()) + numbers


def run(options: argparse.Namespace, tell: Callable[[str], object]) -> dict[str, Any]:
    """Measure everything; what is not installed is left out and named with its reason."""
    found: dict[str, Any] = {"machine": machine(), "command": options.command, "seconds": options.seconds}
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    for case in cases(options):
        if case[2] in left_out:
            continue
        try:
            rows.append(compare(*case, options))
            tell(json.dumps(asdict(rows[-1])))
        except MissingDependencyError as error:
            left_out[case[2]] = str(error)
    real = []
    if SIMULATOR in options.peer and SIMULATOR not in left_out:
        processes = sorted({1, usable_cores()})
        real = [simulator_speed(w, count, options.real_seconds) for w in options.world for count in processes]
    versions = {name: importlib.metadata.version(name) for name in PEERS if any(row.peer == name for row in rows)}
    lists = {"rows": [asdict(row) for row in rows], "simulator": [asdict(row) for row in real]}
    return {**found, "versions": versions, **lists, "left_out": left_out}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--world", nargs="+", default=list(WORLDS))
    made.add_argument("--weights", nargs="+", default=list(WEIGHTS), help="where they have scenes of the world")
    made.add_argument("--peer", nargs="+", choices=(*PEERS, SIMULATOR), default=[*PEERS, SIMULATOR])
    made.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES), help="of simulusion and dreamer4")
    made.add_argument("--threads", type=int, nargs="+", help="default: one, and all that this process may use")
    made.add_argument("--engine", choices=(AUTO, *ENGINES), default=AUTO, help="that runs ours")
    made.add_argument("--pairs", type=int, default=10)
    made.add_argument("--seconds", type=float, default=0.25, help="least length of a measurement")
    made.add_argument("--real-seconds", type=float, default=5.0, help="of the simulator alone")
    made.add_argument("--json", action="store_true", help="print everything as one JSON object")
    made.add_argument("--write", type=Path, help="Markdown file of the results")
    return made


def checked(options: argparse.Namespace) -> argparse.Namespace:
    """Fill in what was left open; ``InvalidInputError`` for numbers that can't be."""
    options.threads = options.threads or sorted({1, usable_cores()})
    if options.pairs < 1:
        raise InvalidInputError(f"--pairs must be at least 1, but is {options.pairs}.")
    for count in options.threads:
        usable_threads(count)
    if not any(True for _ in cases(options)):
        raise InvalidInputError(f"no scenes of {', '.join(options.world)} come with {', '.join(options.weights)}.")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, measure, print, write."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = checked(parser().parse_args(words))
        options.command = " ".join(["python -m benchmarks.peers", *words])
        found = run(options, lambda line: print(line, file=sys.stderr, flush=True))
    except ActionPartyError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(markdown(found))
    print(json.dumps(found, indent=2) if options.json else markdown(found))


if __name__ == "__main__":
    main()
