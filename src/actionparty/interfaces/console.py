"""The terminal: what commands print, and how a problem ends one. It knows nothing of worlds, data or models."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from actionparty.errors import ActionPartyError, InvalidInputError, no_memory

PIPE_WIDTH = 240
"""Columns of a table that goes to a file or a pipe."""
OUT = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH)
"""Results; a program reads this one, so nothing else goes there."""
ERR = Console(stderr=True)
"""Progress, notes and errors."""
NOT_ALL_WELL = 1
USER_ERROR = 2
INTERRUPTED = 130
_HOLD_MEMORY = ("batch", "batch_tokens", "worlds_per_step", "rollouts", "workers", "subjects", "mosaic", "shard_steps")
"""Parameters of commands by which the memory that they need grows, the first ones most."""


class Notes(logging.Handler):
    """Prints log records as notes, one line each, so that a path in them can be copied or searched for."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        say(f"{record.levelname.lower()}: {record.getMessage()}")


def show_log() -> None:
    """Send what the library logs (a skipped shard, a slow machine) to stderr."""
    logger = logging.getLogger("actionparty")
    logger.handlers = [Notes()]
    logger.setLevel(logging.INFO)


def print_json(value: Any) -> None:
    """Print ``value`` as one JSON document; a number that is not finite is a bug of whoever made it."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; the first column and columns without a heading are text, the others numbers on the right."""
    table = Table(title=title or None, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i and column else "left", overflow="fold", no_wrap=i == 0)
    for row in rows:
        table.add_row(*(Text(shown(value)) for value in row))
    OUT.print(table)


def shown(value: object) -> str:
    """Return a value as people read it: three decimals, yes or no, a dash for what is not there."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def tell(text: str) -> None:
    """Print a line of a result on stdout, as it is."""
    OUT.print(text, markup=False, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a note on stderr, as it is."""
    ERR.print(text, markup=False, highlight=False, soft_wrap=True)


def progress() -> Progress:
    """Return progress bars for a terminal, which vanish when they are done; use it as a context."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=ERR, transient=True, disable=not ERR.is_terminal)


def check_new(out: Path) -> None:
    """Raise ``InvalidInputError`` unless ``out`` can be a new folder: nothing that exists is ever written over."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidInputError(f"{out} exists already: choose another --out.")


def explain(error: BaseException, lower: Sequence[str] = ()) -> tuple[str, int] | None:
    """Return what to tell the user about ``error`` and the exit code; None for a bug, which keeps its traceback.

    ``lower`` are the options of the command by which the memory that it needs grows.
    """
    if isinstance(error, ActionPartyError):
        return f"error: {error}", USER_ERROR
    if isinstance(error, KeyboardInterrupt):
        return "stopped; what was finished is kept.", INTERRUPTED
    if no_memory(error):
        todo = f"lower {' or '.join(lower)}" if lower else "end other programs, or take a machine with more of it"
        return f"error: out of memory; {todo}.", USER_ERROR
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return f"error: {_explain_os(error)}", USER_ERROR
    return None


def _explain_os(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{where}. What was finished is kept: make room, then go on."
    return f"{error.strerror or error}{where}"


class Commands(TyperGroup):
    """A group of commands that ends with one clear line and an exit code where a user can mend the problem."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; see ``explain`` for what its exceptions turn into."""
        try:
            return super().invoke(ctx)
        except BaseException as error:
            told = explain(error, self.lowered(ctx))
            if told is None:
                raise
            text, code = told
            head, mark, rest = text.partition("error: ")
            line = Text.assemble((mark, "bold red"), rest) if mark and not head else Text(text)
            ERR.print(line, soft_wrap=True, highlight=False)
            raise typer.Exit(code) from error

    def lowered(self, ctx: Any) -> list[str]:
        """Return the options of the command that ran which can be lowered where memory is short."""
        command = self.get_command(ctx, ctx.invoked_subcommand or "")
        known = {parameter.name: parameter.opts[0] for parameter in (command.params if command else ())}
        return [known[name] for name in _HOLD_MEMORY if name in known]
