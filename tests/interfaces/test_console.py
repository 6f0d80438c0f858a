"""What users read when something goes wrong, in closed form."""

from __future__ import annotations

import errno
import json
import logging
import math
import re
import subprocess
import sys

import pytest
import torch
import typer
from rich.console import Console
from typer.testing import CliRunner

from actionparty.errors import DatasetError, unknown_name
from actionparty.interfaces import cli, console


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DatasetError("here: damaged"), 2, "error: here: damaged"),
        (unknown_name("world", "coin", ["coins", "arena"]), 2, "Did you mean coins"),
        (KeyboardInterrupt(), 130, "stopped"),
        (MemoryError(), 2, "out of memory; end other programs"),
        (RuntimeError("[...] DefaultCPUAllocator: can't allocate memory"), 2, "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), 2, "out of memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 2, "out of memory"),
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


SHORT_OF_MEMORY = """
import resource, sys
import torch
from actionparty.interfaces.cli import main
there = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = there + (int(sys.argv.pop(1)) << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.argv[0] = "actionparty"
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no other system limits the memory that a process may address")
def test_bench_says_how_large_a_batch_fits_into_memory() -> None:
    """A real process with little memory: its allocator refuses in the middle of a batch."""
    command = ["bench", "coins", "--steps", "1", "--batch", "300", "--threads", "1", "--engine", "torch"]
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY, "600", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr[-2000:]
    (line,) = done.stderr.splitlines()
    found = re.fullmatch(
        r"error: a batch of 300 rollouts does not fit into memory; the largest that does is (?:about )?(\d+): "
        r"--batch \1",
        line,
    )
    assert found, line
    assert 1 <= int(found[1]) < 300
    assert done.stdout == ""


def test_each_command_names_its_own_options() -> None:
    group = typer.main.get_command(cli.app)
    assert isinstance(group, console.Commands)
    named = {}
    for name in ("evaluate", "train", "record", "verify"):
        context = typer.Context(group)
        context.invoked_subcommand = name
        named[name] = group.lowered(context)
    assert named["evaluate"] == ["--batch", "--rollouts"]
    assert named["train"] == ["--batch", "--batch-tokens", "--worlds-per-step"]
    assert named["record"] == ["--workers", "--subjects", "--shard-steps"]
    assert named["verify"] == []


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
