"""Training draws no curves here, but where they are tested: a picture takes a second, a step less than a tenth."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actionparty.training.log import TrainingLog

_PLOT = TrainingLog.plot


@pytest.fixture(scope="module", autouse=True)
def _no_curves() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TrainingLog, "plot", lambda log: None)
        yield


@pytest.fixture
def curves(_no_curves: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this test draw them."""
    monkeypatch.setattr(TrainingLog, "plot", _PLOT)
