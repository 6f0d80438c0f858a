"""What users read when something goes wrong, in closed form."""

from __future__ import annotations

import errno
import json
import logging
import math

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from actionparty.errors import DatasetError, unknown_name
from actionparty.interfaces import console


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DatasetError("here: damaged"), 2, "error: here: damaged"),
        (unknown_name("world", "coin", ["coins", "arena"]), 2, "Did you mean coins"),
        (KeyboardInterrupt(), 130, "stopped"),
        (MemoryError(), 2, "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 2, "disk is full: runs/x"),
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), 2, "Permission denied: runs/x"),
    ],
)
def test_what_users_can_mend_is_one_line_and_a_code(error: BaseException, code: int, words: str) -> None:
    told = console.explain(error)
    assert told is not None
    text, given = told
    assert words in text
    assert "\n" not in text
    assert given == code


@pytest.mark.parametrize("error", [ValueError("x"), AssertionError(), BrokenPipeError(), SystemExit(3), typer.Exit(1)])
def test_a_bug_keeps_its_traceback(error: BaseException) -> None:
    assert console.explain(error) is None


def _app(error: BaseException) -> typer.Typer:
    app = typer.Typer(cls=console.Commands, pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise error

    @app.callback()
    def start() -> None: ...

    return app


def test_the_line_goes_to_stderr_whole_and_unbroken() -> None:
    long = "x" * 300
    result = CliRunner().invoke(_app(DatasetError(f"[bold]{long}[/bold]")), ["fail"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == f"error: [bold]{long}[/bold]\n"


def test_what_the_library_logs_is_one_unbroken_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_log()
    logger = logging.getLogger("actionparty")
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(console, "ERR", Console(stderr=True, width=40))
            logger.warning("skipped: %s", "x" * 100)
    finally:
        logger.handlers.clear()
    assert capsys.readouterr().err == f"warning: skipped: {'x' * 100}\n"


def test_interrupt_exits_with_130() -> None:
    result = CliRunner().invoke(_app(KeyboardInterrupt()), ["fail"])
    assert result.exit_code == 130
    assert result.stderr.startswith("stopped")


def test_a_bug_is_raised() -> None:
    result = CliRunner().invoke(_app(ValueError("bug")), ["fail"])
    assert isinstance(result.exception, ValueError)


def test_json_is_one_document_without_nan(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"a": [1, 2.5]})
    assert json.loads(capsys.readouterr().out) == {"a": [1, 2.5]}
    with pytest.raises(ValueError, match="JSON compliant"):
        console.print_json({"a": math.nan})


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (True, "yes"), (False, "no"), (0.12345, "0.123"), (7, "7"), ("coins", "coins")]
)
def test_values_as_people_read_them(value: object, text: str) -> None:
    assert console.shown(value) == text
