"""The whole network: observe, update, render and the heads, behind one module."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from actionparty.config import ModelConfig
from actionparty.model.chances import Chances
from actionparty.model.heads import Heads
from actionparty.model.joint import Joint
from actionparty.model.observe import Observe
from actionparty.model.palette import MOST_TILES, KnownTiles, WorldTiles
from actionparty.model.render import Render
from actionparty.model.update import Update


class Network(nn.Module):
    """A multi-subject world model for any grid size and any number of subjects.

    It is used in parts (``observe``, ``update``, ``render``, ``heads``): training and sampling call them in turn.
    With ``config.staged`` False there is one part, ``joint``, instead of the first three.
    """

    observe: Observe
    update: Update
    render: Render
    joint: Joint | None
    palettes: dict[str, WorldTiles]
    """Known tiles of worlds, by name; they come with the weights."""
    chances: dict[str, Chances]
    """How likely what comes by chance is in worlds, by name; they come with the weights."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.palettes, self.chances = {}, {}
        self._known: dict[tuple[str, torch.device], KnownTiles] = {}
        self.joint = None if config.staged else Joint(config)
        if config.staged:
            self.observe, self.update, self.render = Observe(config), Update(config), Render(config)
        self.heads = Heads(config)

    @property
    def parameters_count(self) -> int:
        """Number of learned numbers."""
        return sum(p.numel() for p in self.parameters())

    def blocks(self) -> Iterator[nn.Module]:
        """Yield every transformer block."""
        for part in (self.observe, self.update, self.render) if self.joint is None else (self.joint,):
            yield from part.blocks

    def know(self, seen: WorldTiles) -> KnownTiles | None:
        """Return the tiles of ``seen`` as ``Render`` can copy them; None for too many, or a network without palette."""
        palette = None if self.joint is not None else self.render.palette
        return None if palette is None or len(seen.tiles) > MOST_TILES else palette.know(seen)

    @torch.no_grad()
    def known(self, world: str) -> KnownTiles | None:
        """Return what ``know`` says of the palette of ``world``, made once; None where there is none."""
        if world not in self.palettes:
            return None
        device = self.heads.end.weight.device
        if (world, device) not in self._known:
            known = self.know(self.palettes[world].to(device))
            if known is None:
                return None
            self._known[world, device] = known
        return self._known[world, device]

    def world_index(self, name: str) -> int:
        """Return the index of a world's embedding, 0 for a world that was not trained."""
        return self.config.worlds.index(name) + 1 if name in self.config.worlds else 0
