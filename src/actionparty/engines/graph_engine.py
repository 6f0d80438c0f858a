"""An engine that runs graphs: tensors in, tensors out, through whatever can run them on this processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from actionparty.model.network import Network
from actionparty.model.observe import Observed, stand
from actionparty.model.ops import Rotary, grid_positions, rotary
from actionparty.model.palette import KnownTiles
from actionparty.model.render import CellChoice, Rendered, Resolved
from actionparty.model.tokens import Subjects
from actionparty.model.update import UpdateMemory

Run = Callable[[list[NDArray[np.generic]]], list[NDArray[np.generic]]]
"""Runs one graph: inputs in the order of ``graphs.Part.inputs``, outputs in that of ``outputs``; from any thread."""


class GraphEngine:
    """Runs the parts of a network as graphs; what is rare or small (jumps, known tiles) stays with PyTorch.

    With ``alone`` the rollouts of a batch are run one by one: where what is rounded in one depends on the others.
    """

    def __init__(self, name: str, network: Network, runs: Mapping[str, Run], *, alone: bool = False) -> None:
        self.name = name
        self.network = network
        self._runs = runs
        self._alone = alone
        self._tables: dict[tuple[int, int], Rotary] = {}

    def _run(self, part: str, *inputs: Tensor) -> list[Tensor]:
        batch = len(inputs[0])
        if not self._alone or batch == 1:
            found = self._runs[part]([value.contiguous().numpy() for value in inputs])
            return [torch.from_numpy(value) for value in found]
        rows = [self._run(part, *(value[i : i + 1] for value in inputs)) for i in range(batch)]
        return [torch.cat(column) for column in zip(*rows, strict=True)]

    def _table(self, grid: tuple[int, int]) -> Rotary:
        if grid not in self._tables:
            config = self.network.config
            self._tables[grid] = rotary(grid_positions(*grid), config.head_width, config.rope_base)
        return self._tables[grid]

    def observe(self, context: Tensor, subjects: Subjects, grid: tuple[int, int], world: Tensor) -> Observed:
        """See ``Observe.forward``."""
        s = subjects
        state = s.position, s.facing, s.alive, s.past_action, s.action, s.age, s.identity
        cells, seen = self._run("observe", context.reshape(*context.shape[:2], *grid, -1), *state, world)
        facing = s.facing[:, -1]
        return Observed(cells, seen, s.now, facing, s.presence, grid, self._table(grid), None, None)

    def remember(self, observed: Observed) -> UpdateMemory:
        """See ``Update.remember``."""
        cells = observed.cells.reshape(len(observed.cells), *observed.grid, -1)
        subjects, *keys = self._run("remember", cells, observed.subjects, observed.position, observed.facing)
        table = stand(observed.position, self.network.config)
        return UpdateMemory(subjects, list(zip(keys[::2], keys[1::2], strict=True)), table, None)

    def update(self, observed: Observed, memory: UpdateMemory, noisy: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Update.forward``."""
        keys = (tensor for pair in memory.keys for tensor in pair)
        clean, features = self._run("update", memory.subjects, observed.position, noisy, time, *keys)
        return clean, features

    def point(self, observed: Observed, features: Tensor) -> Tensor:
        """See ``Update.point``."""
        return self.network.update.point(observed, features)

    def resolve(self, observed: Observed, next_state: Tensor, position: Tensor, alive: Tensor) -> Resolved:
        """See ``Render.resolve``."""
        cells = observed.cells.reshape(len(observed.cells), *observed.grid, -1)
        after, subjects, gate = self._run("resolve", cells, observed.subjects, next_state, position, alive)
        return Resolved(after, subjects, position, gate)

    def render(
        self,
        observed: Observed,
        resolved: Resolved,
        choice: CellChoice,
        noisy: Tensor,
        time: Tensor,
        known: KnownTiles | None,
    ) -> Rendered:
        """See ``Render.forward``."""
        b, table = len(noisy), observed.cell_table
        cosine, sine = (part.expand(b, -1, -1) for part in table) if self._alone else table
        around = resolved.cells, resolved.subjects, resolved.position, cosine, sine
        pixels, features, subjects = self._draw(around, (choice.index, choice.mask, noisy), time)
        return Rendered(pixels, self.network.render.recognise(features, pixels, choice, known), subjects)

    def _draw(self, around: tuple[Tensor, ...], chosen: tuple[Tensor, ...], time: Tensor) -> list[Tensor]:
        """Render the ``chosen`` cells; each frame its own ones, without padding, where they are run ``alone``."""
        mask = chosen[1]
        if not self._alone or len(time) == 1:
            return self._run("render", *around, *chosen, time)
        rows = []
        for i, count in enumerate(mask.sum(1).clamp(min=1).tolist()):
            own = [value[i : i + 1, :count] for value in chosen]
            said = self._run("render", *(value[i : i + 1] for value in around), *own, time[i : i + 1])
            padding = 0, 0, 0, mask.shape[1] - count
            rows.append([functional.pad(said[0], padding), functional.pad(said[1], padding), said[2]])
        return [torch.cat(column) for column in zip(*rows, strict=True)]

    def heads(self, rendered: Tensor, observed: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """See ``Heads.forward``."""
        happens, value, end = self._run("heads", rendered, observed)
        return happens, value, end
