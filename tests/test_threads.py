"""Waiting threads sleep, whoever imports the package, unless the user chose otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from actionparty.threads import calm_threads


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, "0"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_are_calmed_unless_the_user_chose(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, str], after: str | None
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    calm_threads()
    assert os.environ.get("GOMP_SPINCOUNT") == after
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)


def test_importing_the_package_is_enough() -> None:
    code = "import os, sys, actionparty; assert 'torch' not in sys.modules; print(os.environ['GOMP_SPINCOUNT'])"
    clean = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
