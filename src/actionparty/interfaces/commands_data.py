"""The commands about datasets: each parses, calls the library and prints. None of them needs torch."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actionparty.errors import InvalidInputError
from actionparty.interfaces import console

if TYPE_CHECKING:
    from actionparty.data.inspection import WorldSummary
    from actionparty.data.packed import PackedSummary

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
