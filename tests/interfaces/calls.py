"""Calls of the command line in this process, and what they answer."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner

from actionparty.interfaces.cli import app

runner = CliRunner()


def run(*line: object, code: int = 0) -> Any:
    """Run a command in this process; return what it printed, as JSON where it is."""
    result = runner.invoke(app, [str(part) for part in line], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout) if "--json" in line else result.stdout


def complaint(*line: object) -> str:
    """Run a command that has to refuse its input; return its one line on stderr."""
    result = runner.invoke(app, [str(part) for part in line], catch_exceptions=False)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    return result.stderr
