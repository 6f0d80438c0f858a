"""The Python on the pages of docs/ that promise to be run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.interfaces.calls import run

DOCS = Path(__file__).resolve().parents[1] / "docs"


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.S)


@pytest.mark.meltingpot
@pytest.mark.slow
def test_the_code_of_the_environment_guide_runs() -> None:
    pytest.importorskip("torchrl")
    pytest.importorskip("stable_baselines3")
    assert len(blocks("environment.md")) == 8
    script = "\n".join(blocks("environment.md"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = re.findall(r"^(?:.*print\(.*# |# )(.+)$", script, re.M)
    assert len(shown) == 4
    for expected in shown:
        assert expected in done.stdout


def test_the_function_of_the_guide_to_own_worlds_is_the_one_in_the_example() -> None:
    (function,) = blocks("your-own-world.md")
    assert function in (DOCS.parent / "examples" / "warehouse.py").read_text()


SMALLER = {"--steps": "40", "--frames": "16", "--horizon": "6", "--shard-steps": "20"}


@pytest.mark.slow
def test_the_commands_of_the_guide_to_own_worlds_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the server, in their order, with small numbers; the first in a process of its own, as users start it."""
    pytest.importorskip("rware")
    pytest.importorskip("mpe2")
    commands = re.findall(r"^actionparty (.+)$", (DOCS / "your-own-world.md").read_text(), re.M)
    assert [line.split()[0] for line in commands if "particles" not in line] == [
        *("worlds", "record", "record", "inspect", "train", "evaluate", "rollout", "export", "play"),
    ]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(DOCS.parent)
    for line in commands:
        words = line.split()
        small = [SMALLER.get(before, word) for before, word in zip(["", *words], words, strict=False)]
        if words[0] == "play":
            assert (tmp_path / words[-1] / "scenes" / "rware-tiny-2ag").is_dir()
            continue
        if line != commands[0]:
            run(*small)
            continue
        done = subprocess.run(
            [sys.executable, "-m", "actionparty", *small],
            env=os.environ | {"PYTHONPATH": str(DOCS.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
