"""What a subject token sees: its place, its attention over the cells, and where the model expects it next.

The attention is computed here, outside the model,
from the very same weights: the kernels that the model runs never hand it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from actionparty.config import RolloutConfig
from actionparty.data.clips import to_unit
from actionparty.model.layers import Block
from actionparty.model.network import Network
from actionparty.model.observe import Observed
from actionparty.model.ops import Rotary, split_heads
from actionparty.model.update import UpdateMemory
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.snapshot import Snapshot, go_on
from actionparty.training.flow import denoise
from actionparty.training.lots import StepNoise
from actionparty.types import Ints
from actionparty.vocabulary import action_ids


@dataclass(frozen=True)
class Seen:
    """One subject."""

    x: int
    y: int
    next_x: int
    next_y: int
    attention: NDArray[np.float32]
    """(M,) over the cells, row by row; the largest is 1"""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        attention = [round(float(a), 2) for a in self.attention]
        return {"x": self.x, "y": self.y, "next_x": self.next_x, "next_y": self.next_y, "attention": attention}


@torch.inference_mode()
def look(network: Network, settings: RolloutConfig, snapshot: Snapshot, actions: Ints) -> list[Seen]:
    """Return what each subject sees at ``snapshot`` and where it goes if the subjects do ``actions`` (N,).

    The expected cells are those of the very step that these actions would lead to: chance included. The attention is
    that of the last denoising step, averaged over the heads of all update blocks; zeros for a model without update.
    """
    rollout = BatchRollout(network, settings)
    go_on(rollout, [snapshot])
    now = snapshot.states.cells
    attention = update_attention(rollout, actions)[0] if network.joint is None else None
    after = rollout.step(actions[None]).states[0].cells
    h, w = snapshot.spec.grid
    shown = np.zeros((len(now), h * w), np.float32) if attention is None else attention.numpy()
    shown = shown / np.maximum(shown.max(1, keepdims=True), 1e-9)
    places = np.concatenate([now, after], 1).tolist()
    return [Seen(x, y, u, v, row) for (x, y, u, v), row in zip(places, shown, strict=True)]


def update_attention(rollout: BatchRollout, actions: Ints) -> Tensor:
    """Return (B, N, M) the attention over the cells in the coming step, with ``actions`` (N,) in every rollout."""
    network, spec, table = rollout.network, rollout.spec, rollout._started()
    ids = torch.from_numpy(np.array(action_ids(spec.actions))[actions]).expand(rollout.size, -1).to(rollout.device)
    world = torch.full((rollout.size,), network.world_index(spec.name), device=rollout.device)
    noise = StepNoise.of(table.seed, table.step).states(spec.subjects)
    observed = network.observe(to_unit(table.context), table.subjects(ids), spec.grid, world)
    memory = network.update.remember(observed)
    seen = torch.zeros(0)

    def predict(noisy: Tensor, time: Tensor) -> Tensor:
        nonlocal seen
        seen = attend_update(network, observed, memory, noisy, time)
        clean: Tensor = network.update(observed, memory, noisy, time)[0]
        return clean

    denoise(predict, noise, rollout.settings.update_steps)
    return seen


def attend_update(network: Network, observed: Observed, memory: UpdateMemory, noisy: Tensor, time: Tensor) -> Tensor:
    """Return (B, N, M): how much each subject attends to each cell, averaged over heads and update blocks.

    Rows sum to less than 1: what is missing goes to the subjects themselves.
    """
    update = network.update
    embedded = update.time(time)
    u = memory.subjects + update.noisy(noisy.to(memory.subjects.dtype))
    maps = []
    for block, keys in zip(update.blocks, memory.keys, strict=True):
        assert isinstance(block, Block)
        maps.append(block_attention(block, u, memory.table, embedded, keys, memory.mask)[..., u.shape[1] :])
        u = block(u, memory.table, embedded, keys, memory.mask)
    return torch.stack(maps).mean(0).mean(1)


def block_attention(
    block: Block,
    x: Tensor,
    table: Rotary,
    time: Tensor,
    context: tuple[Tensor, Tensor],
    key_mask: Tensor | None = None,
) -> Tensor:
    """Return the softmax weights (B, heads, T, T + context) of a timed block; arguments as of ``Block.forward``."""
    assert block.modulation is not None
    scale, shift = block.modulation(functional.silu(time))[:, None].chunk(6, -1)[:2]
    y = block.norm_attention(x) * (1 + scale) + shift
    attention = block.attention
    own, _ = attention.keys(y, table)
    keys = torch.cat([own, context[0]], 2)
    query = attention._normed(split_heads(attention.query(y), attention.head_width), attention.query_scale, table)
    score = query @ keys.transpose(-1, -2) * query.shape[-1] ** -0.5
    if key_mask is not None:
        score = score.masked_fill(~(key_mask[:, None] if key_mask.dim() == 3 else key_mask[:, None, None]), -torch.inf)
    weights: Tensor = score.softmax(-1)
    return weights
