"""Rollouts: a ring of K frames and a table of states, at constant cost per frame for ever.

A rollout depends on its scene, its seed and its actions, never on what else is in its batch. Frames are fed back as the
uint8 pixels that are shown, so what was saved is all there is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actionparty.config import AUTO, RolloutConfig, from_json, to_json
from actionparty.data.clips import to_unit
from actionparty.engines.choice import choose, open_engine
from actionparty.engines.engine import Engine
from actionparty.errors import ActionPartyError, CheckpointError, InvalidInputError
from actionparty.model.chances import Chances
from actionparty.model.network import Network
from actionparty.model.palette import KnownTiles
from actionparty.rollout.recorded import Recorded
from actionparty.rollout.table import Table, first_table, from_cells, reseeded
from actionparty.training.checkpoint import load_tensors, save_tensors
from actionparty.training.lots import StepNoise
from actionparty.training.sampling import SampledStep, sample_step
from actionparty.types import Bools, Floats, Scene, SubjectStates, WorldSpec
from actionparty.vocabulary import action_ids

FORMAT = 2
_RECORDED_CELLS = 16_384
"""Of larger batches the steps are not recorded: launches cost little then, and rendering every cell much. A guess."""


@dataclass(frozen=True)
class RolloutStep:
    """What a batch of B rollouts answers to one step."""

    frames: NDArray[np.uint8]
    """(B, H, W, 3)"""
    states: SubjectStates
    """(B, N, ...)"""
    rewards: Floats
    """(B, N)"""
    ended: Bools
    """(B,)"""
    finite: Bools
    """(B,) False where the network said something that is no number: the frame is then not to be trusted"""
    reward_odds: Floats
    """(B, N) probability that the reward is not zero"""


_Said = tuple[Tensor, Tensor, Tensor, Tensor]
"""Rewards (B, N), odds that the episode ends (B,), whether all is finite (B,), odds of rewards (B, N)"""


class BatchRollout:
    """B rollouts of one world, stepped together."""

    def __init__(
        self,
        network: Network,
        settings: RolloutConfig | None = None,
        device: torch.device | None = None,
        engine: str | None = None,
    ) -> None:
        """Sample from ``network``, run by an ``engine`` of ``config.ENGINES`` (default: that of the ``settings``)."""
        self.device = device or torch.device("cpu")
        self.network = network.to(self.device).eval()
        self.settings = settings or RolloutConfig()
        self._wanted = engine or self.settings.engine
        self.settings = replace(self.settings, engine=choose(self._wanted, self.device, [self.network]))
        self._engine: Engine | None = None
        self._spec: WorldSpec | None = None
        self._table: Table | None = None
        self.record = True
        """Replay the steps of few rollouts on a GPU as a CUDA graph, in which every cell is rendered."""
        self._recorded: Recorded | None = None
        self._chances: Chances | None = None
        self._known: KnownTiles | None = None

    @property
    def engine(self) -> Engine:
        """What runs the network; opened when it is first needed."""
        if self._engine is None:
            wanted = AUTO if self._wanted == AUTO else self.settings.engine
            self._engine = open_engine(wanted, self.network, self.device)
            self.settings = replace(self.settings, engine=self._engine.name)
        return self._engine

    @property
    def spec(self) -> WorldSpec:
        """The world being generated; known after the first ``reset``."""
        if self._spec is None:
            raise InvalidInputError("this rollout has not started; call reset with scenes first.")
        return self._spec

    @property
    def size(self) -> int:
        """B, the number of rollouts."""
        return len(self._started().context)

    def _started(self) -> Table:
        if self._table is None:
            raise InvalidInputError("this rollout has not started; call reset with scenes first.")
        return self._table

    def reset(self, scenes: Sequence[Scene], seeds: Sequence[int]) -> None:
        """Start one rollout per scene, all of one world.

        Raises:
            InvalidInputError: no scene, scenes of different worlds, or not one seed per scene.
        """
        if not scenes or len(seeds) != len(scenes):
            raise InvalidInputError(
                f"{len(scenes)} scenes and {len(seeds)} seeds; give one seed per scene, at least one."
            )
        for scene in scenes:
            if scene.world != scenes[0].world:
                raise InvalidInputError(f"one batch, two worlds: {scenes[0].world} and {scene.world}.")
        self._start(scenes[0].world, self.settings)
        self._table = first_table(scenes, seeds, self.network.config).map(lambda x: x.to(self.device))

    def _start(self, spec: WorldSpec, settings: RolloutConfig) -> None:
        if settings.snap and spec.name not in self.network.palettes:
            raise InvalidInputError(f"no known tiles of {spec.name} to snap to come with these weights.")
        if settings.engine != self.settings.engine:
            self._wanted, self._engine = settings.engine, None
            settings = replace(settings, engine=choose(settings.engine, self.device, [self.network]))
        if (spec, settings) == (self._spec, self.settings):
            return
        self._spec, self.settings = spec, settings
        chances = self.network.chances.get(spec.name)
        self._chances = None if chances is None else chances.to(self.device)
        self._known = self.network.known(spec.name)
        self._recorded = None  # it reads all of these

    @torch.inference_mode()
    def step(self, actions: Any) -> RolloutStep:
        """Advance all rollouts by one step with ``actions`` (B, N), indices into ``spec.actions``.

        Raises:
            InvalidInputError: not one action per subject of each rollout, or an unknown action.
        """
        table, spec = self._started(), self.spec
        wanted = f"expected actions of shape ({len(table.context)}, {spec.subjects})"
        try:
            array = np.asarray(actions)
        except ValueError as error:
            raise InvalidInputError(f"{wanted}, but the rows differ in length.") from error
        if array.ndim != 2 or len(array) != len(table.context):
            raise InvalidInputError(f"{wanted}, but got shape {array.shape}.")
        chosen = np.stack([spec.check_actions(row) for row in array])
        ids = torch.from_numpy(np.array(action_ids(spec.actions))[chosen]).to(self.device)
        after, said = self._go_on(table, ids)
        self._table = after
        return self._answer(*said)

    def _go_on(self, table: Table, ids: Tensor) -> tuple[Table, _Said]:
        if not self._is_recorded(table):
            return self._next(table, ids, None)
        if self._recorded is None:
            self._recorded = Recorded(self._flat)
        *after, reward, end, finite, odds = self._recorded(*vars(table).values(), ids)
        return Table(*after).map(torch.clone), (reward, end, finite, odds)  # forks share the recording, not its buffers

    def _is_recorded(self, table: Table) -> bool:
        small = table.context.shape[0] * table.context.shape[2] <= _RECORDED_CELLS
        return self.device.type == "cuda" and self.record and small and not self.settings.snap

    def _flat(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """One step as a function of tensors whose shapes and work don't depend on data."""
        table = Table(*tensors[:-1])
        after, said = self._next(table, tensors[-1], table.context.shape[2])
        return (*vars(after).values(), *said)

    def _next(self, table: Table, ids: Tensor, capacity: int | None) -> tuple[Table, _Said]:
        sampled = self.sample(table, ids, capacity)
        return self._advance(table, sampled, ids), (sampled.reward, sampled.end, sampled.finite, sampled.reward_odds)

    def sample(self, table: Table, ids: Tensor, capacity: int | None) -> SampledStep:
        """Return what follows in this world on ``table`` and actions of the shared vocabulary, ``ids`` (B, N).

        ``capacity`` as of ``sample_step``.
        """
        return sample_step(
            self.engine,
            to_unit(table.context),
            table.subjects(ids),
            self.spec.grid,
            torch.full((len(ids),), self.network.world_index(self.spec.name), device=self.device),
            StepNoise.of(table.seed, table.step),
            self.settings,
            self._known,
            self._chances,
            capacity,
        )

    def _advance(self, table: Table, sampled: SampledStep, action: Tensor) -> Table:
        if self.settings.snap:
            sampled = replace(sampled, pixels=self._snapped(sampled.pixels, sampled.changed))
        return table.advance(sampled, action)

    def _snapped(self, pixels: Tensor, changed: Tensor) -> Tensor:
        palette = self.network.palettes[self.spec.name].tiles.to(pixels.device)
        rows, cells = changed.nonzero(as_tuple=True)
        nearest = torch.cdist(pixels[rows, cells], palette).argmin(1)
        out = pixels.clone()
        out[rows, cells] = palette[nearest]
        return out

    def _answer(self, reward: Tensor, end: Tensor, finite: Tensor, odds: Tensor) -> RolloutStep:
        table = self._started()
        h, w = self.spec.grid
        states = SubjectStates(
            table.position[:, -1].cpu().numpy().copy(),
            table.facing[:, -1].cpu().numpy().copy(),
            table.alive[:, -1].cpu().numpy().copy(),
        )
        frames = from_cells(table.context[:, -1].cpu().numpy(), h, w)
        return RolloutStep(
            frames,
            states,
            reward.cpu().numpy(),
            (end > 0.5).cpu().numpy(),
            finite.cpu().numpy(),
            odds.cpu().numpy(),
        )

    def last(self) -> RolloutStep:
        """Return the current frames and states again, without rewards."""
        b, n = self._started().age.shape
        return self._answer(torch.zeros(b, n), torch.zeros(b), torch.ones(b, dtype=torch.bool), torch.zeros(b, n))

    def fork(self, index: Sequence[int] | None = None, seeds: Sequence[int] | None = None) -> BatchRollout:
        """Return an independent rollout that goes on from here; ``index`` picks rollouts (again and again if repeated).

        Without new ``seeds`` a fork has the same future as its origin under the same actions.

        Raises:
            InvalidInputError: an index that is no rollout of this batch, none at all, or not one seed for each.
        """
        table = self._started()
        picked = list(range(self.size)) if index is None else list(index)
        if not picked or not all(0 <= i < self.size for i in picked):
            raise InvalidInputError(f"can't fork rollouts {picked} of a batch with 0 to {self.size - 1}.")
        if seeds is not None and len(seeds) != len(picked):
            raise InvalidInputError(f"{len(picked)} forks and {len(seeds)} seeds; give one seed per fork, or none.")
        chosen = torch.tensor(picked, device=self.device)
        other = BatchRollout(self.network, self.settings, self.device)
        other._engine, other._spec = self._engine, self._spec
        other._chances, other._known, other._recorded = self._chances, self._known, self._recorded
        other._table = table.map(lambda x: x[chosen].clone())
        if seeds is not None:
            other._table = reseeded(other._table, seeds)
        return other

    def save(self, path: Path) -> None:
        """Write the rollouts as they stand; ``restore`` goes on from there exactly."""
        about = {
            "format": FORMAT,
            "world": self.spec.name,
            "grid": list(self.spec.grid),
            "actions": list(self.spec.actions),
            "settings": to_json(self.settings),
        }
        tensors = {name: value.cpu().contiguous() for name, value in vars(self._started()).items()}
        tensors["about"] = torch.frombuffer(bytearray(json.dumps(about).encode()), dtype=torch.uint8)
        save_tensors(path, tensors)

    def restore(self, path: Path) -> None:
        """Go on from a file that ``save`` wrote, with the settings it was saved with.

        Raises:
            CheckpointError: it is damaged, not a saved rollout, of another format, or fits another model.
            InvalidInputError: it snaps to known tiles, but these weights know none of its world.
        """
        tensors = load_tensors(path)
        try:
            about = json.loads(tensors.pop("about").numpy().tobytes())
            if about["format"] != FORMAT:
                raise CheckpointError(f"{path}: format {about['format']!r}, but this version reads {FORMAT}.")
            table = Table(**tensors).map(lambda x: x.to(self.device))
            settings = from_json(RolloutConfig, about["settings"])
            spec = WorldSpec(about["world"], table.identity.shape[1], tuple(about["grid"]), tuple(about["actions"]))
        except CheckpointError:
            raise
        except (ActionPartyError, KeyError, IndexError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: not a saved rollout ({error}).") from error
        config = self.network.config
        if table.context.shape[1] != config.context or table.position.shape[1] != config.memory:
            raise CheckpointError(f"{path}: was saved with a model of another context or memory length.")
        self._start(spec, settings)
        self._table = table
