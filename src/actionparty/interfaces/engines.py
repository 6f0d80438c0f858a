"""The option ``--engine`` of commands that generate."""

from __future__ import annotations

from typing import Annotated

import typer

from actionparty.config import AUTO, ENGINES

EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help=f"What runs the network: {', '.join(ENGINES)}, or {AUTO}, the fastest exact one that is installed.",
    ),
]
