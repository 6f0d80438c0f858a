"""The command ``card``: what a checkpoint is, how it was made and how well it does, written beside its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actionparty.errors import InvalidInputError
from actionparty.interfaces import console


def card(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder.", show_default=False)],
    report: Annotated[Path, typer.Option(help="Report folder of these weights.", show_default=False)],
    notes: Annotated[
        Path | None, typer.Option(help="Markdown file with more to say on limits.", show_default=False)
    ] = None,
    train: Annotated[
        list[Path] | None,
        typer.Option(help="Dataset it was trained on, for who acted in it; may be given several times."),
    ] = None,
) -> None:
    """Write the model card of a checkpoint, and which of its worlds are experimental.

    Both come from a report of `actionparty evaluate` about these very
    weights. Where the figures are known, `actionparty worlds` and the
    playground show them.

    Examples:
      actionparty evaluate party --out outputs/party
      actionparty card party --report outputs/party --train datasets/party
    """
    from actionparty.checkpoints import find_checkpoint
    from actionparty.evaluation.card import write_card

    text = "" if notes is None else _read(notes)
    console.tell(f"{write_card(find_checkpoint(checkpoint), report, text, train or ())}")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: can't be read ({error}).") from error
