"""The command ``export``: a checkpoint folder that stands alone, from a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actionparty.interfaces import console
from actionparty.interfaces.commands_data import Json


def export(
    run: Annotated[str, typer.Argument(help="Run folder with the weights.", show_default=False)],
    out: Annotated[Path, typer.Option(help="New folder for the checkpoint.", show_default=False)],
    train: Annotated[list[Path], typer.Option(help="Datasets it was trained on.", show_default=False)],
    held_out: Annotated[Path, typer.Option(help="Dataset of held-out episodes.", show_default=False)],
    scenes: Annotated[int, typer.Option(min=1, help="Scenes of each world.")] = 8,
    episodes: Annotated[int, typer.Option(min=1, help="Held-out episodes of each world.")] = 20,
    as_json: Json = False,
) -> None:
    """Put everything that a trained model needs into one folder.

    Weights, scenes to start from, labelled tiles for the detector, and
    held-out episodes for machines without the simulator. This is how the
    weights that ship with the package were made.

    Examples:
      actionparty export runs/party --out party --train datasets/party --held-out datasets/test
    """
    from actionparty.evaluation.export import export as write

    done = write(run, train, held_out, out, scenes, episodes)
    summary = {
        "out": str(done.folder),
        "worlds": list(done.worlds),
        "scenes": done.scenes,
        "held_out": done.held_out,
        "bytes": done.bytes,
    }
    if as_json:
        console.print_json(summary)
    else:
        row = (summary["out"], len(done.worlds), done.scenes, done.held_out, f"{done.bytes / 1e6:.1f} MB")
        console.print_table("", ("checkpoint", "worlds", "scenes", "held-out episodes", "size"), [row])
