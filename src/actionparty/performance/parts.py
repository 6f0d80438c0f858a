"""Where the time of a step goes: a stopwatch on the parts of a rollout."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from actionparty.performance.machine import settle
from actionparty.rollout.rollout import BatchRollout

PARTS = ("observe", "update", "render", "decode")
"""In the order of a step: the network's parts; the pixels that are shown, and the next context."""


@contextmanager
def parts_timed(rollout: BatchRollout) -> Iterator[dict[str, float]]:
    """Yield the seconds that ``rollout`` has spent in each of ``PARTS`` since; they grow with every step.

    On a GPU steps are not recorded meanwhile, and the parts are waited for one by one, so that their sum is more than a
    step takes.
    """
    seconds: dict[str, float] = defaultdict(float)
    recorded, rollout.record = rollout.record, False
    watched = _watched(rollout)
    for part, owner, method in watched:
        setattr(owner, method, _Stopwatch(getattr(owner, method), seconds, part, rollout))
    try:
        yield seconds
    finally:
        rollout.record = recorded
        for _, owner, method in watched:
            delattr(owner, method)


def _watched(rollout: BatchRollout) -> list[tuple[str, Any, str]]:
    engine = rollout.engine
    own = [("decode", rollout, "_advance"), ("decode", rollout, "_answer")]
    if engine.network.joint is not None:
        return [*own, ("update", engine.network.joint, "forward")]
    calls = {"observe": ("observe",), "update": ("remember", "update"), "render": ("resolve", "render")}
    return own + [(part, engine, method) for part, methods in calls.items() for method in methods]


class _Stopwatch:
    """Calls a function and adds the seconds it took to a part."""

    def __init__(self, function: Any, seconds: dict[str, float], part: str, rollout: BatchRollout) -> None:
        self._function, self._seconds, self._part, self._device = function, seconds, part, rollout.device

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = self._function(*arguments, **options)
        settle(self._device)
        self._seconds[self._part] += time.perf_counter() - start
        return result
