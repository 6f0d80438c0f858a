"""The commands about worlds and recordings: each parses, calls the library and prints. None of them needs torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actionparty.errors import InvalidInputError
from actionparty.interfaces import console

if TYPE_CHECKING:
    from actionparty.data.crew import MakeCrew
    from actionparty.data.inspection import WorldSummary
    from actionparty.data.packed import PackedSummary
    from actionparty.data.recording import RecordingSummary
    from actionparty.data.worker import MakeWorld
    from actionparty.types import WorldSpec
    from actionparty.worlds.factory import WorldFactory

FILMSTRIP_FRAMES = 12
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead, for programs.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything left to chance.")]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Work on a Ray cluster: `auto` (the one that runs here), `local` (start one) or its HOST:PORT.",
        show_default=False,
    ),
]
Env = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION",
        help="A world of your own: the function that makes it (docs/your-own-world.md).",
        show_default=False,
    ),
]
DatasetPath = Annotated[Path, typer.Argument(help="Folder of the dataset.", show_default=False)]


def usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def record(
    out: Annotated[Path, typer.Option(help="Folder of the dataset; an existing dataset grows.", show_default=False)],
    worlds: Annotated[
        list[str] | None,
        typer.Argument(help="Names of worlds, as `actionparty worlds` lists them.", show_default=False),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="A set of worlds instead: `all` substrates, or `starter`; large maps get more steps."),
    ] = None,
    env: Env = None,
    steps: Annotated[int, typer.Option(help="Rows (frames) wanted of each world.")] = 20_000,
    seed: Annotated[int, typer.Option(help="First seed label; from 1,000,000 on for evaluation only.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; by default one per core.", show_default=False)] = None,
    ray: Ray = None,
    policy: Annotated[str, typer.Option(help="Who acts: `random` (sticky), `seek`, `curious` or `mixed`.")] = "mixed",
    subjects: Annotated[
        int | None, typer.Option(help="Subjects, 1 to 64; by default the world's own number.", show_default=False)
    ] = None,
    shard_steps: Annotated[int, typer.Option(help="Rows in one episode file at most.")] = 1000,
    as_json: Json = False,
) -> None:
    """Record worlds into a dataset, without loss.

    Frames, and of every subject its exact state, action and reward. Only what
    is missing is recorded: give the same command again after an interruption,
    or with more steps.

    Examples:
      actionparty record arena --steps 2000 --out datasets/arena
      actionparty record coins clean_up --steps 20000 --out datasets/party
      actionparty record coins --seed 1000000 --steps 4000 --out datasets/test
      actionparty record --suite all --steps 20000 --out datasets/all
      actionparty record --env my_world:make_world --out datasets/mine
      actionparty record coins --steps 20000 --out datasets/party --ray auto
    """
    if sum((bool(worlds), suite is not None, env is not None)) != 1:
        raise InvalidInputError(
            "name the worlds to record, or give --suite NAME, or --env MODULE:FUNCTION (one of them)."
        )
    own = None if env is None else world_factory(env)
    wanted = _wanted_steps(worlds or [], suite, steps) if own is None else {_own_world(own, subjects, out).name: steps}
    summary = record_with_bars(list(wanted), wanted, seed, out, workers, policy, subjects, shard_steps, ray, own)
    rows = sum(summary.rows.values())
    speed = rows / summary.seconds if summary.seconds else 0.0
    if as_json:
        console.print_json(
            {
                "out": str(summary.out),
                "rows": dict(summary.rows),
                "shards": summary.shards,
                "skipped": dict(summary.skipped),
                "repaired": list(summary.repaired),
                "seconds": round(summary.seconds, 3),
                "frames_per_second": round(speed, 1),
            }
        )
    else:
        console.print_table(
            "", ("world", "rows added", "note"), ((n, r, summary.skipped.get(n)) for n, r in summary.rows.items())
        )
        console.tell(f"{rows:,} rows in {summary.shards} shards, {speed:,.0f} frames/s -> {summary.out}")
        for name in summary.repaired:
            console.say(f"damaged shard: {name}")
    if summary.skipped:
        raise typer.Exit(console.USER_ERROR if len(summary.skipped) == len(summary.rows) else console.NOT_ALL_WELL)


def _wanted_steps(worlds: Sequence[str], suite: str | None, steps: int) -> dict[str, int]:
    """Return the rows wanted of each world: of those named, or of those in the suite."""
    from actionparty.worlds.catalogue import world_spec
    from actionparty.worlds.suites import suite_steps

    if suite is not None:
        return suite_steps(suite, steps)
    return {world_spec(name).name: steps for name in worlds}


def world_factory(env: str) -> WorldFactory:
    """Return what makes the world that the user called ``env``; its module may lie in the current folder."""
    from actionparty.worlds.factory import WorldFactory

    return WorldFactory(env, str(Path.cwd()))


def _own_world(factory: WorldFactory, subjects: int | None, out: Path) -> WorldSpec:
    """Return what a user's world is, after a step of it, before anything is written.

    Raises:
        InvalidInputError: it can't be made or played, or the dataset ``out`` has another world of this name.
    """
    from actionparty.data.dataset import INFO, open_dataset

    spec = factory.tried(subjects)
    recorded = open_dataset(out).worlds.get(spec.name) if (out / INFO).exists() else None
    if recorded is not None and recorded != spec:
        raise InvalidInputError(
            f"{out} has another {spec.name}: {recorded}, and now it is {spec}. Give one of them another name, or use "
            "another folder."
        )
    return spec


def record_with_bars(
    worlds: Sequence[str],
    steps: int | Mapping[str, int],
    seed: int,
    out: Path,
    workers: int | None = None,
    policy: str = "mixed",
    subjects: int | None = None,
    shard_steps: int = 1000,
    ray: str | None = None,
    make_world: MakeWorld | None = None,
) -> RecordingSummary:
    """Record as ``data.recording.record`` does, with a progress bar for each world and one worker per core.

    With ``ray``, the address of a Ray cluster, the workers and the cores are those of the cluster. Without
    ``make_world`` the worlds are those of the catalogue.
    """
    from actionparty.data.recording import record as record_worlds
    from actionparty.worlds import catalogue

    # an unknown name is refused before anything is written
    names = list(worlds) if make_world else [catalogue.world_spec(name).name for name in worlds]
    make = make_world or catalogue.make_world
    with _crew(ray) as (make_crew, cores), console.progress() as bars:
        totals = steps if isinstance(steps, Mapping) else dict.fromkeys(names, steps)
        tasks = {name: bars.add_task(name, total=totals[name]) for name in dict.fromkeys(names)}

        def show(world: str, rows: int, wanted: int) -> None:
            bars.update(tasks[world], completed=rows, total=wanted)

        crew = cores if workers is None else workers
        settings = (policy, subjects, shard_steps)
        try:
            return record_worlds(names, steps, seed, crew, out, *settings, show, make, make_crew=make_crew)
        except KeyboardInterrupt:
            console.say("give the same command again to go on.")
            raise


@contextmanager
def _crew(ray: str | None) -> Iterator[tuple[MakeCrew, int]]:
    """Yield what makes the workers, and how many are apt: processes here, or actors of the Ray cluster ``ray``."""
    from actionparty.data.crew import LocalCrew
    from actionparty.data.ray_crew import RayCrew, cluster

    if ray is None:
        yield LocalCrew, usable_cores()
        return
    with cluster(ray) as cpus:
        yield RayCrew, cpus


def inspect(
    dataset: DatasetPath,
    filmstrips: Annotated[
        Path | None, typer.Option(help="Folder for one picture (PNG) of each world.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what is in a dataset: worlds, episodes, steps, actions, pictures.

    Examples:
      actionparty inspect datasets/party
      actionparty inspect datasets/party --filmstrips outputs/party
      actionparty inspect datasets/party --json
    """
    from actionparty.data.inspection import inspect as summarise
    from actionparty.data.packed import inspect_packed, is_packed

    if is_packed(dataset):
        if filmstrips is not None:
            raise InvalidInputError(f"{dataset} is packed: --filmstrips needs the recorded dataset it was made from.")
        _show_packed(inspect_packed(dataset), as_json)
        return
    summary = summarise(dataset)
    pictures = _draw_filmstrips(dataset, filmstrips, sorted({w.world.name for w in summary.worlds}))
    if as_json:
        worlds = [asdict(world) for world in summary.worlds]
        totals = {"episodes": summary.episodes, "steps": summary.steps, "bytes_per_frame": summary.bytes_per_frame}
        about = {"dataset": str(dataset), "package": summary.package, "damaged": summary.damaged}
        console.print_json({**about, **totals, "worlds": worlds, "filmstrips": pictures})
        return
    columns = (
        "world",
        "subjects",
        "episodes",
        "steps",
        "bytes/frame",
        "collisions",
        "rewarded",
        "alive",
        "returns",
        "ended",
    )
    console.print_table("", columns, map(_world_row, summary.worlds))
    for world in summary.worlds:
        total = max(1, sum(world.actions.values()))
        rows = [(name, n, n / total, "#" * round(40 * n / total)) for name, n in world.actions.items()]
        console.print_table(f"{world.world.name}: actions", ("action", "taken", "share", ""), rows)
    console.tell(f"{summary.episodes} episodes, {summary.steps:,} steps, {summary.bytes_per_frame:.1f} bytes a frame")
    for path in pictures:
        console.tell(f"filmstrip: {path}")


def _show_packed(summary: PackedSummary, as_json: bool) -> None:
    for problem in summary.damaged:
        console.say(f"warning: {problem}")
    if as_json:
        about = {"dataset": str(summary.path), "packed": True, "damaged": summary.damaged}
        worlds = [{**asdict(world.spec), "rows": world.rows, "part": world.part} for world in summary.worlds]
        totals = {"rows": summary.rows, "bytes": summary.bytes, "parts": summary.parts}
        console.print_json({**about, **totals, "worlds": worlds})
        return
    columns = ("world", "subjects", "grid", "rows", "part")
    rows = ((w.spec.name, w.spec.subjects, "x".join(map(str, w.spec.grid)), w.rows, w.part) for w in summary.worlds)
    console.print_table("", columns, rows)
    console.tell(f"packed: {len(summary.worlds)} worlds, {summary.rows:,} rows, {summary.bytes:,} bytes")
    console.tell(f"what happens in them: actionparty coverage {summary.path}")


def _world_row(summary: WorldSummary) -> tuple[object, ...]:
    counts = (summary.world.subjects, summary.episodes, f"{summary.steps:,}", f"{summary.bytes_per_frame:.1f}")
    return (
        summary.world.name,
        *counts,
        summary.collisions,
        summary.rewarded,
        summary.alive,
        summary.returns,
        summary.ended,
    )


def _draw_filmstrips(dataset: Path, folder: Path | None, worlds: Iterable[str]) -> list[str]:
    from actionparty.data.dataset import load_episodes
    from actionparty.data.inspection import filmstrip, spread_steps

    if folder is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for world in worlds:
        episode = next(load_episodes(dataset, [world]))
        filmstrip(episode, folder / f"{world}.png", spread_steps(len(episode), FILMSTRIP_FRAMES))
        paths.append(str(folder / f"{world}.png"))
    return paths


def verify(dataset: DatasetPath, as_json: Json = False) -> None:
    """Check every byte of a recorded or packed dataset; name whatever is damaged or missing.

    Exit code 0 where all is as it was written, 1 where there is any damage,
    2 where there is no dataset, or one of another version.

    Examples:
      actionparty verify datasets/party
      actionparty verify datasets/party --json
    """
    from actionparty.data.dataset import verify as verify_recorded
    from actionparty.data.packed import is_packed, verify_packed

    problems = verify_packed(dataset) if is_packed(dataset) else verify_recorded(dataset)
    if as_json:
        console.print_json({"dataset": str(dataset), "ok": not problems, "problems": problems})
    else:
        for problem in problems:
            console.tell(problem)
        console.tell(
            f"{dataset}: {len(problems)} {'problem' if len(problems) == 1 else 'problems'}"
            if problems
            else f"{dataset}: every byte is as it was written"
        )
    if problems:
        raise typer.Exit(console.NOT_ALL_WELL)
