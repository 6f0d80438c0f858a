"""run.py with a fake Python behind it: what it asks pip for, when it installs again, what it leaves after a failure."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "run.py"
FAKE_PYTHON = """#!/bin/sh
echo "$@" >> "$LOG"
case "$*" in
  "-m venv "*) mkdir -p "$3/bin"; echo version = 3.11 > "$3/pyvenv.cfg"; cp "$0" "$3/bin/python"; exit 0;;
  "-c "*) exit 1;;
  "-m pip index"*) echo "Available versions: $OFFERED"; exit 0;;
  "-m pip install"*) exit "${PIP_CODE:-0}";;
  "-m ruff check"*) exit "${RUFF_CODE:-0}";;
esac
"""
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the fake interpreter is a shell script")


class Machine:
    """A folder with run.py in it, a PATH without a GPU and an interpreter that only takes notes."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = folder / "log"
        self.python = folder / "fake-python"
        self.python.write_text(FAKE_PYTHON)
        self.python.chmod(0o755)
        self.root = folder / "clone"
        self.root.mkdir()
        (self.root / "run.py").write_bytes(SOURCE.read_bytes())
        (self.root / "pyproject.toml").write_text("[project]\n")
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.patch = monkeypatch
        monkeypatch.setenv("LOG", str(self.log))
        monkeypatch.setenv("OFFERED", "2.14.0, 2.13.0+cpu, 2.13.0, 2.5.1+cpu")
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
        self.run = self.load()

    def load(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("run_under_test", self.root / "run.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.patch.setattr(sys, "executable", str(self.python))
        return module

    def start(self, *arguments: str) -> list[str]:
        """Run main and return what the interpreter was asked to do, the final exec included."""
        self.log.write_text("")
        executed: list[str] = []

        def note_exec(path: str, line: list[str]) -> None:
            executed.append(" ".join(line[1:]))
            raise SystemExit(0)

        with self.patch.context() as patch:
            patch.setattr(os, "execv", note_exec)
            try:
                code = self.run.main(list(arguments))
            except SystemExit as stop:
                code = stop.code
        self.code = code
        return self.log.read_text().splitlines() + executed

    def installs(self, *arguments: str) -> list[str]:
        return [line for line in self.start(*arguments) if "pip install" in line]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_is_short_and_needs_only_the_standard_library() -> None:
    text = SOURCE.read_text()
    tree = ast.parse(text)
    names = {a.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    names |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= sys.stdlib_module_names
    assert len(text.splitlines()) <= 150


def test_first_start_installs_and_the_second_runs_at_once(machine: Machine) -> None:
    first = machine.start("demo", "--out", "x")
    assert first[0] == f"-m venv {machine.root / '.venv'}"
    assert first[-1] == "-m actionparty.interfaces.cli demo --out x"
    assert machine.start("demo") == ["-m actionparty.interfaces.cli demo"]


def test_asks_for_the_newest_cpu_build_that_is_recent_enough(machine: Machine) -> None:
    (line,) = machine.installs("demo")
    assert line.endswith(f"torch==2.13.0+cpu -e {machine.root}[onnx,video]")


def test_without_a_cpu_build_says_what_the_plain_one_weighs(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OFFERED", "2.14.0, 2.13.0, 2.5.1+cpu")
    (line,) = machine.installs("demo")
    assert "torch" not in line
    assert "3 GB" in capfd.readouterr().err


def test_with_a_gpu_leaves_the_choice_to_pip(machine: Machine) -> None:
    smi = machine.bin / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho GPU 0: something\n")
    smi.chmod(0o755)
    (line,) = machine.installs("demo")
    assert "torch" not in line


def test_driver_without_a_gpu_counts_as_no_gpu(machine: Machine) -> None:
    smi = machine.bin / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho no devices >&2\nexit 9\n")
    smi.chmod(0o755)
    (line,) = machine.installs("demo")
    assert "torch==2.13.0+cpu" in line


def test_changed_project_file_installs_again_in_the_same_venv(machine: Machine) -> None:
    machine.start("demo")
    (machine.root / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    again = machine.start("demo")
    assert not any("-m venv" in line for line in again)
    assert any("pip install" in line for line in again)


def test_more_extras_are_added_to_those_there(machine: Machine) -> None:
    machine.start("demo")
    (line,) = machine.installs("record", "arena")
    assert line.endswith("[meltingpot,onnx,video]")
    assert machine.installs("demo") == []


def test_failed_install_leaves_no_stamp_and_the_next_start_begins_anew(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_CODE", "1")
    machine.start("demo")
    assert machine.code == 2
    assert "installing failed" in capfd.readouterr().err
    assert not (machine.root / ".venv/actionparty.json").exists()
    leftover = machine.root / ".venv/leftover"
    leftover.touch()
    monkeypatch.setenv("PIP_CODE", "0")
    machine.start("demo")
    assert machine.code == 0
    assert not leftover.exists()


def test_venv_of_somebody_else_is_used_not_deleted(machine: Machine) -> None:
    venv = machine.root / ".venv"
    subprocess.run([machine.python, "-m", "venv", str(venv)], check=True)
    mine = venv / "mine"
    mine.touch()
    assert len(machine.installs("demo")) == 1
    assert mine.exists()


def test_folder_that_is_no_venv_is_left_alone(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    precious = machine.root / ".venv/precious"
    precious.parent.mkdir()
    precious.touch()
    machine.start("demo")
    assert machine.code == 2
    assert precious.exists()
    assert "no virtual environment" in capfd.readouterr().err


@pytest.mark.parametrize("stamp", ["", "[]", "{", json.dumps({"extras": ["video"]})])
def test_damaged_stamp_means_installing_again(machine: Machine, stamp: str) -> None:
    machine.start("demo")
    (machine.root / ".venv/actionparty.json").write_text(stamp)
    assert len(machine.installs("demo")) == 1


def test_test_runs_every_check_and_reports_any_failure(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = machine.start("test", "-k", "layers")
    assert lines[-4:] == ["-m ruff check .", "-m ruff format --check .", "-m mypy --strict", "-m pytest -k layers"]
    assert machine.code == 0
    monkeypatch.setenv("RUFF_CODE", "3")
    assert machine.start("test")[-1] == "-m pytest"
    assert machine.code == 1


def test_threads_sleep_while_they_wait_unless_the_user_chose(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    machine.start("demo")
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    machine.start("demo")
    assert os.environ["GOMP_SPINCOUNT"] == "0"


def test_old_python_is_told_what_to_do(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    machine.start("demo")
    assert machine.code == 2
    assert "needs 3.11 or newer" in capfd.readouterr().err


def test_python_without_venv_is_told_what_to_install(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else find(name))
    machine.start("demo")
    assert machine.code == 2
    assert "python3-venv" in capfd.readouterr().err
