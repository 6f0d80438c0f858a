"""Start some rollouts of a batch anew while the others go on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from actionparty.errors import InvalidInputError
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.table import Table
from actionparty.types import Scene


def restart(rollout: BatchRollout, rows: Sequence[int], scenes: Sequence[Scene], seeds: Sequence[int]) -> None:
    """Start the rollouts ``rows`` of a running batch from one scene and seed each.

    Raises:
        InvalidInputError: a row that is no rollout of this batch, not one scene and seed for each, or another world.
    """
    table = rollout._started()
    if len(rows) != len(scenes) or not all(0 <= row < rollout.size for row in rows):
        raise InvalidInputError(f"can't start {len(scenes)} scenes in rows {list(rows)} of {rollout.size} rollouts.")
    fresh = BatchRollout(rollout.network, rollout.settings, rollout.device)
    fresh.reset(scenes, seeds)
    if fresh.spec != rollout.spec:
        raise InvalidInputError(f"one batch, two worlds: {rollout.spec} and {fresh.spec}.")
    places, new = torch.tensor(rows, device=rollout.device), vars(fresh._started())
    rollout._table = Table(**{name: old.index_copy(0, places, new[name]) for name, old in vars(table).items()})
