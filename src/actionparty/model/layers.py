"""Layers shared by observe, update and render: attention, the transformer block, the time embedding."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from actionparty.model.local import Windows, attend_locally
from actionparty.model.ops import Rotary, attend, rotate, split_heads

_EPSILON = 1e-5


class Attention(nn.Module):
    """Multi-head attention with RMS-normed, rotary queries and keys."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.head_width = head_width
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.query_scale = nn.Parameter(torch.ones(head_width))
        self.key_scale = nn.Parameter(torch.ones(head_width))

    def keys(self, y: Tensor, table: Rotary) -> tuple[Tensor, Tensor]:
        """Return keys and values of ``y`` (B, T, width); they can be kept while ``y`` stays the same."""
        k, v = (split_heads(part, self.head_width) for part in self.key_value(y).chunk(2, -1))
        return self._normed(k, self.key_scale, table), v

    def _normed(self, x: Tensor, scale: Tensor, table: Rotary) -> Tensor:
        return rotate(functional.rms_norm(x, (self.head_width,), scale.to(x.dtype), _EPSILON), table)

    def forward(
        self,
        x: Tensor,
        table: Rotary,
        keys: tuple[Tensor, Tensor],
        key_mask: Tensor | None,
        windows: Windows | None = None,
    ) -> Tensor:
        """Let ``x`` (B, T, width) attend to ``keys``; with ``windows``, its cells to those near them."""
        k, v = keys
        q = self._normed(split_heads(self.query(x), self.head_width), self.query_scale, table)
        seen = attend(q, k, v, key_mask) if windows is None else attend_locally(q, k, v, key_mask, windows)
        result: Tensor = self.out(seen)
        return result


class Block(nn.Module):
    """Pre-norm transformer block; with ``timed`` it is modulated by a flow time (adaLN, starting as identity)."""

    def __init__(self, width: int, head_width: int, *, timed: bool) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width, elementwise_affine=False)
        self.norm_context = nn.LayerNorm(width, elementwise_affine=False)
        self.norm_mlp = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = Attention(width, head_width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = nn.Linear(width, 6 * width) if timed else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def context_keys(self, context: Tensor, table: Rotary) -> tuple[Tensor, Tensor]:
        """Return the keys and values of ``context`` tokens, which do not change while ``x`` is refined."""
        return self.attention.keys(self.norm_context(context), table)

    def forward(
        self,
        x: Tensor,
        table: Rotary,
        time: Tensor | None = None,
        context: tuple[Tensor, Tensor] | None = None,
        key_mask: Tensor | None = None,
        windows: Windows | None = None,
    ) -> Tensor:
        """Refine ``x`` (B, T, width), attending to itself and to precomputed ``context`` keys after it.

        ``time`` is the (B, width) time embedding of a timed block; ``key_mask`` is (B, T + context), or (B, T,
        T + context) where each token sees others, True where seen. With ``windows``, and then no ``context``, the first
        tokens are cells, which see only those near them.
        """
        c = None
        if self.modulation is not None:
            assert time is not None, "a timed block needs the time embedding"
            c = _Modulation(self.modulation(functional.silu(time)))
        y = self.norm_attention(x)
        y = y if c is None else y * (1 + c.scale_attention) + c.shift_attention
        k, v = self.attention.keys(y, table)
        if context is not None:
            k, v = torch.cat([k, context[0]], 2), torch.cat([v, context[1]], 2)
        update: Tensor = self.attention(y, table, (k, v), key_mask, windows)
        x = x + (update if c is None else (1 + c.gate_attention) * update)
        y = self.norm_mlp(x)
        y = y if c is None else y * (1 + c.scale_mlp) + c.shift_mlp
        update = self.mlp(y)
        return x + (update if c is None else (1 + c.gate_mlp) * update)


class _Modulation:
    """The six vectors by which a flow time modulates a block."""

    def __init__(self, parts: Tensor) -> None:
        chunks = parts[:, None].chunk(6, -1)
        self.scale_attention, self.shift_attention, self.gate_attention = chunks[:3]
        self.scale_mlp, self.shift_mlp, self.gate_mlp = chunks[3:]


class TimeEmbedding(nn.Module):
    """Embed a flow time in [0, 1] as a vector."""

    def __init__(self, width: int, frequencies: int = 32) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.mlp = nn.Sequential(nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, time: Tensor) -> Tensor:
        """(B,) -> (B, width)."""
        n = torch.arange(self.frequencies, device=time.device, dtype=torch.float32)
        angle = time.float()[:, None] * 1000 * torch.exp(-math.log(1000.0) / self.frequencies * n)
        result: Tensor = self.mlp(torch.cat([angle.cos(), angle.sin()], -1))
        return result
