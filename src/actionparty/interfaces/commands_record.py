"""The command ``record``: worlds into a dataset, those of the catalogue or one of a user's own. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actionparty.errors import InvalidInputError
from actionparty.interfaces import console
from actionparty.interfaces.commands_data import Env, Json, Ray, usable_cores

if TYPE_CHECKING:
    from actionparty.data.crew import MakeCrew
    from actionparty.data.recording import RecordingSummary
    from actionparty.data.worker import MakeWorld
    from actionparty.types import WorldSpec
    from actionparty.worlds.factory import WorldFactory


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
    policy: Annotated[
        str, typer.Option(help="Who acts: `random` (sticky), `seek`, `curious`, `mixed` or `skilled`.")
    ] = "mixed",
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
        _tell(summary, wanted, speed)
    if summary.skipped:
        raise typer.Exit(console.USER_ERROR if len(summary.skipped) == len(summary.rows) else console.NOT_ALL_WELL)


def _tell(summary: RecordingSummary, wanted: Mapping[str, int], speed: float) -> None:
    """Print what a recording added, and for each world that got nothing why."""
    rows = sum(summary.rows.values())
    if rows or summary.skipped:
        found = [(n, r, summary.skipped.get(n, None if r else "nothing was missing")) for n, r in summary.rows.items()]
        console.print_table("", ("world", "rows added", "note"), found)
    if rows:
        shards = "1 shard" if summary.shards == 1 else f"{summary.shards} shards"
        console.tell(f"{rows:,} rows in {shards}, {speed:,.0f} frames/s -> {summary.out}")
    elif summary.skipped:
        console.tell(f"Nothing was recorded -> {summary.out}")
    else:
        what = f"{sum(wanted.values()):,} rows of {next(iter(wanted)) if len(wanted) == 1 else f'{len(wanted)} worlds'}"
        console.tell(f"Nothing to record: {summary.out} has these {what} already. More come with a larger --steps.")
    for name in summary.repaired:
        console.say(f"damaged shard: {name}")


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
