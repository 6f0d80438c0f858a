"""The Python on the pages of docs/ that promise to be run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.S)


@pytest.mark.meltingpot
@pytest.mark.slow
def test_the_code_of_the_environment_guide_runs() -> None:
    pytest.importorskip("torchrl")
    pytest.importorskip("stable_baselines3")
    assert len(blocks("environment.md")) == 6
    script = "\n".join(blocks("environment.md"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = re.findall(r"^(?:.*print\(.*# |# )(.+)$", script, re.M)
    assert len(shown) == 4
    for expected in shown:
        assert expected in done.stdout
