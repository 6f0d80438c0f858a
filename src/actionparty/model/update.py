"""Update: the next states of all subjects are denoised together, reading the observed cells.

It has N tokens only, so steps are cheap. A state is a vector of ``STATE_CHANNELS`` numbers near [-1, 1]: displacement
(x, y) in cells, facing as a +-1 code of 4, alive, and *jump* (the subject reappears or is moved beyond reach: then a
pointer over all cells says where).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from actionparty.config import ModelConfig
from actionparty.model.layers import Block, TimeEmbedding
from actionparty.model.observe import Observed, join_masks, stand, view_layer
from actionparty.model.ops import surroundings
from actionparty.model.tokens import FACING_COUNT, facing_code

REACH = 3
"""Cells that a subject can be displaced in one step without a jump."""
STATE_CHANNELS = 2 + FACING_COUNT + 2
ALIVE, JUMP = -2, -1
"""Channels of a state."""


@dataclass(frozen=True)
class NextStates:
    """Resolved states after a step, (B, N, ...)."""

    displacement: Tensor
    """(B, N, 2) float cells within +-REACH; zero for a jump."""
    facing: Tensor
    """(B, N) long."""
    alive: Tensor
    """(B, N) bool."""
    jump: Tensor
    """(B, N) bool."""


def encode_states(states: NextStates) -> Tensor:
    """Return ``states`` as (B, N, STATE_CHANNELS) float, the clean end of the flow."""
    flags = torch.stack([states.alive, states.jump], -1).float() * 2 - 1
    return torch.cat([states.displacement.float(), facing_code(states.facing), flags], -1)


def decode_states(vector: Tensor, whole_cells: Tensor | None = None) -> NextStates:
    """Read a denoised vector: round the displacement, take the likeliest facing, threshold the flags at 0.

    Where subjects move by fractions of cells nothing is rounded: ``whole_cells`` (B,) bool is False there.
    """
    displacement = vector[..., :2].float().nan_to_num(0).clamp(-REACH, REACH)  # of what is no number others tell
    rounded = displacement.round()
    displacement = rounded if whole_cells is None else torch.where(whole_cells[:, None, None], rounded, displacement)
    facing = vector[..., 2 : 2 + FACING_COUNT].argmax(-1)
    alive, jump = vector[..., ALIVE] > 0, vector[..., JUMP] > 0
    still = (jump | ~alive)[..., None]
    return NextStates(torch.where(still, torch.zeros_like(displacement), displacement), facing, alive, jump & alive)


def point_at(query: Tensor, key: Tensor, cell_mask: Tensor | None = None) -> Tensor:
    """Return logits (B, N, M) over the cells where a jumping subject appears; (B, N, width), (B, M, width).

    Both are normed, so a logit stays within +-sqrt(width): rare jumps can't make the pointer overconfident, and
    features of any size leave it a gradient.
    """
    q, k = (functional.rms_norm(x.float(), x.shape[-1:]) for x in (query, key))
    logits: Tensor = q @ k.transpose(1, 2) / query.shape[-1] ** 0.5
    return logits if cell_mask is None else logits.masked_fill(~cell_mask[:, None], float("-inf"))


class UpdateMemory:
    """Made once per frame, read by every denoising step: the subjects with their surroundings, the cells' keys."""

    def __init__(
        self, subjects: Tensor, keys: list[tuple[Tensor, Tensor]], table: tuple[Tensor, Tensor], mask: Tensor | None
    ) -> None:
        self.subjects = subjects
        self.keys = keys
        self.table = table
        self.mask = mask


class Update(nn.Module):
    """Denoise the next states of all subjects jointly."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.noisy = nn.Linear(STATE_CHANNELS, config.width)
        self.view = view_layer(config)
        self.time = TimeEmbedding(config.width)
        self.blocks = nn.ModuleList(
            Block(config.width, config.head_width, timed=True) for _ in range(config.update_layers)
        )
        self.norm = nn.LayerNorm(config.width, elementwise_affine=False)
        self.out = nn.Linear(config.width, STATE_CHANNELS)
        self.pointer_query = nn.Linear(config.width, config.width, bias=False)
        self.pointer_key = nn.Linear(config.width, config.width, bias=False)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def remember(self, observed: Observed) -> UpdateMemory:
        """Compute what every denoising step of this frame shares."""
        keys = [block.context_keys(observed.cells, observed.cell_table) for block in self.blocks]  # type: ignore[operator]
        subjects = observed.subjects
        if self.view is not None:
            cells = observed.cells if observed.cell_mask is None else observed.cells * observed.cell_mask[..., None]
            around = surroundings(cells, observed.position, observed.facing, observed.grid)
            subjects = subjects + self.view(around.to(subjects.dtype))
        return UpdateMemory(subjects, keys, stand(observed.position, self.config), self._mask(observed))

    def _mask(self, observed: Observed) -> Tensor | None:
        """Return which keys, subjects and then cells, are seen; without ``together`` each subject sees only itself."""
        (b, n), m = observed.subjects.shape[:2], observed.cells.shape[1]
        mask = join_masks(observed.subject_mask, observed.cell_mask, ((b, n), (b, m)))
        if self.config.together:
            return mask
        alone = torch.eye(n, n + m, dtype=torch.bool, device=observed.cells.device)
        alone[:, n:] = True
        return alone[None].expand(b, -1, -1) if mask is None else alone & mask[:, None]

    def forward(self, observed: Observed, memory: UpdateMemory, noisy: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Return the predicted clean states (B, N, STATE_CHANNELS) and the subjects' features (B, N, width)."""
        c = self.time(time)
        u = memory.subjects + self.noisy(noisy.to(memory.subjects.dtype))
        for block, keys in zip(self.blocks, memory.keys, strict=True):
            u = block(u, memory.table, c, keys, memory.mask)
        return self.out(self.norm(u)), u

    def point(self, observed: Observed, features: Tensor) -> Tensor:
        """Return logits (B, N, M) over the cells where a jumping subject appears."""
        return point_at(self.pointer_query(features), self.pointer_key(observed.cells), observed.cell_mask)
