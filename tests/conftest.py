"""What all tests share: what torch reads on import, hypothesis without a database, the simulator's marker."""

from __future__ import annotations

import importlib.util
import os
import signal

import pytest
from hypothesis import settings

os.environ.setdefault("GOMP_SPINCOUNT", "0")  # before anything imports torch
os.environ.setdefault("MPLBACKEND", "Agg")

# A suite started in the background is deaf to Ctrl-C, and its children inherit that; some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("suite", database=None, deadline=None, derandomize=True, print_blob=False)
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if importlib.util.find_spec("dmlab2d") is not None:
        return
    skip = pytest.mark.skip(reason="needs the real simulator: install the extra `meltingpot`")
    for item in items:
        if item.get_closest_marker("meltingpot"):
            item.add_marker(skip)
