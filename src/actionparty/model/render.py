"""Render: decide which cells change, then denoise those cells only; all other cells are copied exactly.

The *change gate* gives each cell's probability to change, after the subjects' next states are resolved. Rendering is
conditional on the change: chance events are sampled by the gate, not blurred by the renderer. Pixels are predicted as
they are, not as a residual on the last frame, which would carry every blemish on. (Departs from method.md
section 3, where all cells are rendered and the gate is a threshold: see docs/method.md.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from actionparty.config import ModelConfig
from actionparty.model.layers import Block, TimeEmbedding
from actionparty.model.observe import Observed, join_masks, stand
from actionparty.model.ops import CELL_CHANNELS, concat_rotary, gather_cells, place
from actionparty.model.palette import KnownTiles, Palette
from actionparty.model.update import STATE_CHANNELS


@dataclass(frozen=True)
class Resolved:
    """The frame's features once the next states are known."""

    cells: Tensor
    """(B, M, width) with every subject placed at its next cell."""
    subjects: Tensor
    """(B, N, width)"""
    position: Tensor
    """(B, N, 2) next positions."""
    gate: Tensor
    """(B, M) logits: does the cell change?"""


@dataclass(frozen=True)
class CellChoice:
    """The cells of each frame that are rendered, padded to the same number C."""

    index: Tensor
    """(B, C) long into the M cells; padding may repeat any cell."""
    mask: Tensor
    """(B, C) bool, False for padding."""
    was: Tensor | None = None
    """(B, C) long, which known tile each of them shows before the step (see ``KnownTiles.find``); None: unsaid"""
    there: Tensor | None = None
    """(B, C) long, whose look is in each of them after the step (see ``looks_at``); None: unsaid"""


@dataclass(frozen=True)
class Rendered:
    """What the render blocks say of the chosen cells."""

    cells: Tensor
    """(B, C, 192) the clean pixels as drawn"""
    tiles: Tensor | None
    """(B, C, 1 + P) logits of the known tiles (``Palette``), None where none are known"""
    subjects: Tensor
    """(B, N, width) the subjects' features"""


class Render(nn.Module):
    """Change gate and pixel denoiser."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.next_state = nn.Linear(STATE_CHANNELS, width) if config.subject_tokens else None
        self.placement = nn.Linear(width, width) if config.places else None
        self.gate = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))
        self.noisy = nn.Linear(CELL_CHANNELS, width)
        self.time = TimeEmbedding(width)
        self.blocks = nn.ModuleList(Block(width, config.head_width, timed=True) for _ in range(config.render_layers))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.pixels = nn.Linear(width, CELL_CHANNELS)
        self.palette = Palette(width) if config.palette else None
        nn.init.zeros_(self.pixels.weight)
        nn.init.zeros_(self.pixels.bias)

    def resolve(self, observed: Observed, next_state: Tensor, position: Tensor, alive: Tensor) -> Resolved:
        """Bring the resolved states (B, N, STATE_CHANNELS) at their next positions (B, N, 2) into the frame."""
        u = observed.subjects
        if self.next_state is not None:
            u = u + self.next_state(next_state.to(u.dtype))
        presence = alive.float() if observed.subject_mask is None else alive.float() * observed.subject_mask.float()
        cells = observed.cells
        if self.placement is not None:
            cells = place(cells, self.placement(u), position, presence, observed.grid)
        return Resolved(cells, u, position, self.gate(cells)[..., 0].float())

    def forward(
        self,
        observed: Observed,
        resolved: Resolved,
        choice: CellChoice,
        noisy: Tensor,
        time: Tensor,
        known: KnownTiles | None = None,
    ) -> Rendered:
        """Predict the clean pixels of the chosen cells, and which of the ``known`` tiles they show.

        Args:
            observed: what Observe saw.
            resolved: what ``resolve`` made of it.
            choice: the cells to render.
            noisy: (B, C, 192) their noisy next pixels.
            time: (B,) flow time.
            known: the world's known tiles; only with ``config.palette``.
        """
        cells, features, subjects = self.draw(observed, resolved, choice, noisy, time)
        return Rendered(cells, self.recognise(features, cells, choice, known), subjects)

    def draw(
        self, observed: Observed, resolved: Resolved, choice: CellChoice, noisy: Tensor, time: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the clean pixels (B, C, 192) of the chosen cells, their features, and those of the subjects."""
        (b, c), n = choice.index.shape, resolved.subjects.shape[1]
        x = gather_cells(resolved.cells, choice.index) + self.noisy(noisy.to(resolved.cells.dtype))
        cell_table = tuple(gather_cells(t.expand(b, -1, -1), choice.index) for t in observed.cell_table)
        subject_table = stand(resolved.position, self.config)
        table = concat_rotary((cell_table[0], cell_table[1]), subject_table)
        mask = join_masks(choice.mask, observed.subject_mask, ((b, c), (b, n)))
        x = torch.cat([x, resolved.subjects.to(x.dtype)], 1)
        embedded = self.time(time)
        for block in self.blocks:
            x = block(x, table, embedded, key_mask=mask)
        x = self.norm(x)
        return self.pixels(x[:, :c]).float(), x[:, :c], x[:, c:]

    def recognise(self, features: Tensor, cells: Tensor, choice: CellChoice, known: KnownTiles | None) -> Tensor | None:
        """Return the logits of ``known`` tiles for ``cells`` as drawn (see ``Rendered.tiles``)."""
        if self.palette is None or known is None:
            return None
        logits: Tensor = self.palette(features, cells, known, choice.was, choice.there)
        return logits
