"""The command line as users meet it: help, wrong input, exit codes; what commands do is tested where it is done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from actionparty.interfaces.cli import app

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]
runner = CliRunner()


@pytest.mark.parametrize("command", ["--help", "worlds"])
def test_help_and_lists_load_no_torch(command: str) -> None:
    script = f"import sys\nsys.argv = ['actionparty', '{command}']\nfrom actionparty.interfaces import cli\n" + (
        "try:\n    cli.main()\nexcept SystemExit as stop:\n    print('CODE', stop.code, 'torch' in sys.modules)"
    )
    path = ":".join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONPATH": path}
    )
    assert "CODE 0 False" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_teaches_by_example(command: str) -> None:
    result = runner.invoke(app, [command, "--help"], terminal_width=100)
    assert result.exit_code == 0
    assert f"actionparty {command}" in result.stdout


def test_version_is_printed() -> None:
    result = runner.invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("actionparty ")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["recrod"], "Did you mean 'record'"),
        (["record", "arena"], "Missing option '--out'"),
        (["verify"], "Missing argument"),
        (["rollout", "arena", "--out", "x", "--seed", "-1"], "--seed"),
        (["train", "x", "--out", "x", "--seed", "-1"], "--seed"),
        (["verify", "x", "--jsn"], "--json"),
    ],
)
def test_wrong_usage_says_what_is_right(line: list[str], words: str) -> None:
    result = runner.invoke(app, line)
    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.parametrize(
    "line",
    [
        ["verify", "{missing}"],
        ["train", "{missing}", "--out", "{out}"],
        ["record", "arena", "--out", "{file}"],
        ["record", "arena", "--out", "{foreign}"],
        ["record", "arena", "--out", "{out}", "--steps", "0"],
        ["record", "arena", "--out", "{out}", "--subjects", "0"],
        ["record", "arena", "--out", "{out}", "--subjects", "65"],
        ["train", "{foreign}", "--out", "{out}", "--size", "smal"],
        ["verify", "{foreign}"],
    ],
)
def test_wrong_input_is_one_line_and_code_2(line: list[str], tmp_path: Path) -> None:
    places = {name: tmp_path / name for name in ("missing", "out", "file", "foreign")}
    places["file"].write_text("precious")
    places["foreign"].mkdir()
    (places["foreign"] / "notes.txt").write_text("precious")
    result = runner.invoke(app, [part.format(**places) for part in line])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert places["file"].read_text() == "precious"
    assert [path.name for path in places["foreign"].iterdir()] == ["notes.txt"]
