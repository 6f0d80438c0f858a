"""What the tests of agents share beside a room: a server with shipped weights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.interfaces.agents.serving import Playground

pytest.importorskip("starlette")
pytest.importorskip("pydantic")


@pytest.fixture(scope="session")
def coins() -> Iterator[Playground]:
    """`actionparty play` in a process of its own, with the world of coins as it is shipped."""
    with Playground("--world", "coins", "--checkpoint", "starter").running() as made:
        yield made
