"""The command ``pack``: recorded datasets as a few small files, for machines that train."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actionparty.interfaces import console
from actionparty.interfaces.commands_data import Json

if TYPE_CHECKING:
    from actionparty.data.tables import WorldTable


def pack(
    datasets: Annotated[list[Path], typer.Argument(help="Folders of recorded datasets.", show_default=False)],
    out: Annotated[Path, typer.Option(help="New folder for the packed dataset.", show_default=False)],
    part_mb: Annotated[int, typer.Option(min=1, help="Largest size of one file, in MB.")] = 60,
    as_json: Json = False,
) -> None:
    """Pack datasets into a few files that load at once, without loss.

    What training needs (tile grids, states, actions, rewards) of every world,
    about 20 bytes a frame. `actionparty train` takes the folder like any
    dataset. Episodes with seed labels from 1,000,000 on are left out.

    Examples:
      actionparty pack datasets/all --out datasets/all-packed
      actionparty pack datasets/all datasets/curious --out datasets/both
      actionparty train datasets/all-packed --out runs/all
    """
    from actionparty.data.dataset import open_dataset
    from actionparty.data.packed import write_packed

    names = sorted({name for dataset in datasets for name in open_dataset(dataset).worlds})
    with console.progress() as bars:
        task = bars.add_task("pack", total=len(names))

        def tables() -> Iterator[WorldTable]:
            for name in names:
                table = _table(datasets, name)
                if table is None:
                    console.say(f"{name}: no episodes to train on, left out")
                else:
                    yield table
                bars.advance(task)

        parts = write_packed(tables(), out, part_mb * 1_000_000)
    rows = sum(world["rows"] for part in parts for world in part["worlds"].values())
    size = sum(part["bytes"] for part in parts)
    if as_json:
        console.print_json({"out": str(out), "rows": rows, "bytes": size, "parts": parts})
        return
    console.print_table("", ("part", "worlds", "MB"), ((p["file"], len(p["worlds"]), p["bytes"] / 1e6) for p in parts))
    console.tell(f"{rows:,} rows, {size / max(rows, 1):.1f} bytes each -> {out}")


def _table(datasets: Sequence[Path], world: str) -> WorldTable | None:
    """Return the table of what may be trained on; None where that is nothing."""
    from actionparty.data.dataset import load_episodes, open_dataset
    from actionparty.data.recording import FIRST_EVALUATION_SEED
    from actionparty.data.tables import WorldTable

    having = [dataset for dataset in datasets if world in open_dataset(dataset).worlds]
    episodes = [e for path in having for e in load_episodes(path, [world]) if e.seed < FIRST_EVALUATION_SEED]
    return WorldTable.of(episodes) if episodes else None
