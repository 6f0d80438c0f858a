"""The parts of a network as functions of tensors alone, in the form in which other engines can run them.

A grid comes as axes of tensors, so that one graph serves every size. Nothing here hides padding: a rollout has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from actionparty.model.network import Network
from actionparty.model.observe import Observed, stand
from actionparty.model.ops import CELL_CHANNELS, grid_positions, rotary
from actionparty.model.render import CellChoice, Resolved
from actionparty.model.tokens import Subjects
from actionparty.model.update import STATE_CHANNELS, UpdateMemory

Axes = tuple[torch.dtype, tuple[str | int, ...]]
"""Type and axes of an input: the size of each axis, or the name of one that may have any size."""
EXAMPLE = {"batch": 2, "subjects": 3, "height": 5, "width": 7, "cells": 35, "chosen": 11}
"""Sizes of those axes while a graph is made: different, and none of them 1, which would be taken for a constant."""
_FLOAT, _WHOLE, _FLAG = torch.float32, torch.int64, torch.bool


@dataclass(frozen=True)
class Part:
    """One graph: what it computes, and the names of what goes in and comes out, in their order."""

    name: str
    module: nn.Module
    inputs: dict[str, Axes]
    outputs: tuple[str, ...]

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs of the sizes in ``EXAMPLE``, all zero."""
        shapes = [[EXAMPLE[a] if isinstance(a, str) else a for a in axes] for _, axes in self.inputs.values()]
        return tuple(
            torch.zeros(shape, dtype=dtype) for shape, (dtype, _) in zip(shapes, self.inputs.values(), strict=True)
        )


def parts(network: Network) -> list[Part]:
    """Return the graphs of a staged ``network``, in the order of a step."""
    config = network.config
    width, heads = config.width, config.width // config.head_width
    cells: Axes = (_FLOAT, ("batch", "cells", width))
    grid: Axes = (_FLOAT, ("batch", "height", "width", width))
    subjects: Axes = (_FLOAT, ("batch", "subjects", width))
    position: Axes = (_FLOAT, ("batch", "subjects", 2))
    number: Axes = (_WHOLE, ("batch", "subjects"))
    past = ("batch", config.memory, "subjects")
    states: Axes = (_FLOAT, ("batch", "subjects", STATE_CHANNELS))
    key: Axes = (_FLOAT, ("batch", heads, "cells", config.head_width))
    keys = {f"{kind}{layer}": key for layer in range(config.update_layers) for kind in ("key", "value")}
    table: Axes = (_FLOAT, (1, "cells", config.head_width // 2))
    time: Axes = (_FLOAT, ("batch",))
    pixels: Axes = (_FLOAT, ("batch", "chosen", CELL_CHANNELS))
    observing: dict[str, Axes] = {
        "context": (_FLOAT, ("batch", config.context, "height", "width", CELL_CHANNELS)),
        "position": (_FLOAT, (*past, 2)),
        "facing": (_WHOLE, past),
        "alive": (_FLAG, past),
        "past_action": (_WHOLE, past),
        "action": number,
        "age": (_FLOAT, ("batch", "subjects")),
        "identity": (_FLOAT, ("batch", "subjects", CELL_CHANNELS)),
        "world": (_WHOLE, ("batch",)),
    }
    resolving: dict[str, Axes] = {
        "cells": grid,
        "subjects": subjects,
        "next_state": states,
        "position": position,
        "alive": (_FLAG, ("batch", "subjects")),
    }
    rendering: dict[str, Axes] = {
        "cells": cells,
        "subjects": subjects,
        "position": position,
        "cosine": table,
        "sine": table,
        "index": (_WHOLE, ("batch", "chosen")),
        "mask": (_FLAG, ("batch", "chosen")),
        "noisy": pixels,
        "time": time,
    }
    updating: dict[str, Axes] = {"subjects": subjects, "position": position, "noisy": states, "time": time, **keys}
    return [
        Part("observe", _Observe(network), observing, ("cells_seen", "subjects_seen")),
        Part(
            "remember",
            _Remember(network),
            {"cells": grid, "subjects": subjects, "position": position, "facing": number},
            ("subjects_kept", *keys),
        ),
        Part("update", _Update(network), updating, ("clean", "features")),
        Part("resolve", _Resolve(network), resolving, ("cells_after", "subjects_after", "gate")),
        Part("render", _Render(network), rendering, ("pixels", "features", "subjects_rendered")),
        Part("heads", _Heads(network), {"rendered": subjects, "observed": subjects}, ("happens", "value", "end")),
    ]


class _Piece(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def seen(self, cells: Tensor, subjects: Tensor, position: Tensor, facing: Tensor) -> Observed:
        """Put features of a frame, (B, h, w, width) and (B, N, width), together again."""
        grid = cells.shape[1], cells.shape[2]
        config = self.network.config
        table = rotary(grid_positions(*grid), config.head_width, config.rope_base)
        presence = torch.ones_like(facing, dtype=torch.float32)
        return Observed(cells.flatten(1, 2), subjects, position, facing, presence, grid, table, None, None)


class _Observe(_Piece):
    def forward(
        self,
        context: Tensor,
        position: Tensor,
        facing: Tensor,
        alive: Tensor,
        past_action: Tensor,
        action: Tensor,
        age: Tensor,
        identity: Tensor,
        world: Tensor,
    ) -> tuple[Tensor, Tensor]:
        subjects = Subjects(position, facing, alive, past_action, action, age, identity)
        grid = context.shape[2], context.shape[3]
        observed = self.network.observe(context.flatten(2, 3), subjects, grid, world)
        return observed.cells, observed.subjects


class _Remember(_Piece):
    def forward(self, cells: Tensor, subjects: Tensor, position: Tensor, facing: Tensor) -> tuple[Tensor, ...]:
        memory = self.network.update.remember(self.seen(cells, subjects, position, facing))
        return memory.subjects, *(tensor for pair in memory.keys for tensor in pair)


class _Update(_Piece):
    def forward(
        self, subjects: Tensor, position: Tensor, noisy: Tensor, time: Tensor, *keys: Tensor
    ) -> tuple[Tensor, Tensor]:
        pairs = list(zip(keys[::2], keys[1::2], strict=True))
        memory = UpdateMemory(subjects, pairs, stand(position, self.network.config), None)
        clean, features = self.network.update(None, memory, noisy, time)  # what was observed is in the memory
        return clean, features


class _Resolve(_Piece):
    def forward(
        self, cells: Tensor, subjects: Tensor, next_state: Tensor, position: Tensor, alive: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        observed = self.seen(cells, subjects, position, alive.long())
        resolved = self.network.render.resolve(observed, next_state, position, alive)
        return resolved.cells, resolved.subjects, resolved.gate


class _Render(_Piece):
    def forward(
        self,
        cells: Tensor,
        subjects: Tensor,
        position: Tensor,
        cosine: Tensor,
        sine: Tensor,
        index: Tensor,
        mask: Tensor,
        noisy: Tensor,
        time: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        facing = torch.zeros_like(index[:, :0])
        observed = Observed(cells, subjects, position, facing, facing, (1, 1), (cosine, sine), None, None)
        resolved = Resolved(cells, subjects, position, cells[..., 0])
        pixels, features, rendered = self.network.render.draw(observed, resolved, CellChoice(index, mask), noisy, time)
        return pixels, features, rendered


class _Heads(_Piece):
    def forward(self, rendered: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        said: tuple[Tensor, Tensor, Tensor] = self.network.heads(rendered, observed, None)
        return said
