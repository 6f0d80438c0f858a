"""The benchmark of what people see presses real keys and sees them all; how long it takes is nothing for a test."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.browser.conftest import CHROMIUM

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: sudo apt install chromium"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="needs Playwright"),
    pytest.mark.skipif(importlib.util.find_spec("starlette") is None, reason="needs the server"),
]
ROOT = Path(__file__).resolve().parents[2]


def test_every_key_is_seen_and_timed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.play_screen", "--world", "coins", "--keys", "3"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "GOMP_SPINCOUNT": "0"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["world"], told["people"], told["subjects"]) == ("coins", 2, 2)
    assert told["seen"] == told["keys"] == 6
    assert 0 < told["key_to_screen_ms_p50"] <= told["key_to_screen_ms_p95"]
    assert 0 < told["first_picture_after_server_up_s"] < told["first_picture_after_start_s"]
    assert told["hz"] > 0
