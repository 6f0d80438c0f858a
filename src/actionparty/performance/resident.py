"""How fast rollouts are that stay on their device."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from actionparty.engines.choice import TORCH
from actionparty.environment.resident import ENGINES_HERE, ResidentRollout
from actionparty.errors import InvalidInputError, no_memory
from actionparty.model.network import Network
from actionparty.performance.machine import WARM_UP, settle
from actionparty.rollout.rollout import BatchRollout
from actionparty.types import Scene


def resident_rate(
    network: Network, scenes: Sequence[Scene], batch: int, steps: int, like: BatchRollout, compiled: bool
) -> tuple[float, float]:
    """Measure ``batch`` rollouts that stay on the device of ``like``, run by PyTorch.

    Returns:
        Frames per second, and the share of steps in which cells had to wait for room.

    Raises:
        InvalidInputError: they do not fit into memory.
    """
    engine = like.engine.name if like.engine.name in ENGINES_HERE else TORCH
    try:
        rollout = ResidentRollout(
            network, scenes, batch, replace(like.settings, engine=engine), like.device, compiled=compiled
        )
        rollout.reset(0)
        return _measured(rollout, steps)
    except Exception as error:
        if not no_memory(error):
            raise
    raise InvalidInputError(f"{batch} rollouts that stay on the device do not fit into memory: take a smaller --batch.")


def _measured(rollout: ResidentRollout, steps: int) -> tuple[float, float]:
    shape = WARM_UP + steps, rollout.size, rollout.spec.subjects
    actions = torch.randint(len(rollout.spec.actions), shape, generator=torch.Generator().manual_seed(0))
    rows = actions.to(rollout.device)
    for row in rows[:WARM_UP]:
        rollout.step(row, checked=False)
    waited = torch.zeros((), dtype=torch.long, device=rollout.device)
    settle(rollout.device)
    start = time.perf_counter()
    for row in rows[WARM_UP:]:
        waited += (rollout.step(row, checked=False).waiting > 0).sum()
    settle(rollout.device)
    rate = rollout.size * steps / (time.perf_counter() - start)
    return round(rate, 1), round(float(waited) / (rollout.size * steps), 4)
