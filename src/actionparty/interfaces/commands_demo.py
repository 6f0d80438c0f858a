"""The command ``demo``: shows what the shipped weights can do, with nothing but the package."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from actionparty.interfaces import console
from actionparty.interfaces.commands_data import Json
from actionparty.interfaces.commands_evaluate import show_report
from actionparty.rollout.scenes import shipped_checkpoint

OUTPUTS = Path("outputs")


def demo(
    out: Annotated[
        Path | None, typer.Option(help="New folder for the films. (default: outputs/demo)", show_default=False)
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Checkpoint folder, or name of shipped weights.", show_default=False)
    ] = None,
    world: Annotated[list[str] | None, typer.Option(help="This world; may be given several times.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Frames to generate of each world.")] = 150,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Picks the starting scene, and everything left to chance.")
    ] = 0,
    mosaic: Annotated[int, typer.Option(min=0, help="Most worlds to show at once in a mosaic; 0 for none.")] = 16,
    metrics: Annotated[bool, typer.Option(help="Also measure how well the subjects obey.")] = True,
    as_json: Json = False,
) -> None:
    """Generate two worlds from the shipped weights, film them, measure them.

    Writes an MP4, a GIF and a contact sheet of each, the real simulator's
    frames for the same actions beside the generated ones; and a mosaic in
    which many worlds of the checkpoint are generated at once. Needs neither a
    simulator nor a GPU.

    Examples:
      actionparty demo
      actionparty demo --world coins --steps 300 --out outputs/coins
      actionparty demo --no-metrics --mosaic 0
    """
    from actionparty.interfaces.demo import FIRST_CHOICE, run_demo

    weights = checkpoint if checkpoint is not None else shipped_checkpoint(world[0] if world else FIRST_CHOICE)
    done = run_demo(out or free_folder(OUTPUTS, "demo"), weights, world, steps, seed, console.say, metrics, mosaic)
    if as_json:
        files = {name: [str(path) for path in paths] for name, paths in done.files.items()}
        speeds, report = done.frames_per_second, done.report.to_json() if done.report else None
        found = {"out": str(done.out), "files": files, "frames_per_second": speeds}
        console.print_json({**found, "mosaic": done.mosaic.to_json() if done.mosaic else None, "report": report})
        return
    if done.report:
        show_report(done.report, None)
    console.tell("Films and contact sheets:")
    for path in (path for paths in done.files.values() for path in paths):
        console.tell(f"  {path}")
    if done.mosaic:
        console.tell(f"All at once, {done.mosaic.frames_per_second:.0f} world frames/s:")
        for path in done.mosaic.files:
            console.tell(f"  {path}")


def free_folder(parent: Path, name: str) -> Path:
    """Return ``parent/name``, or the first of ``name-2``, ``name-3``, ... that does not exist yet."""
    names = (name if i == 1 else f"{name}-{i}" for i in count(1))
    return next(path for path in map(parent.joinpath, names) if not path.exists())
