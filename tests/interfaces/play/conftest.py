"""What the tests of the playground share beside a room: an engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actionparty.interfaces.play.engine import Engine
from actionparty.training.checkpoint import load_network

pytest.importorskip("starlette")
pytest.importorskip("pydantic")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    made = Engine(load_network(folder), workers=2)
    yield made
    made.close()
