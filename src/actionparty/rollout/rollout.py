"""Rollouts: a ring of K frames and a table of states, at constant cost per frame for ever.

A rollout depends on its scene, its seed and its actions, never on what else is in its batch. Frames are fed back as the
uint8 pixels that are shown, so what was saved is all there is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actionparty.config import AUTO, RolloutConfig, from_json, to_json
from actionparty.data.clips import to_pixels, to_unit
from actionparty.data.tables import alive_age
from actionparty.engines.choice import choose, open_engine
from actionparty.engines.engine import Engine
from actionparty.errors import ActionPartyError, CheckpointError, InvalidInputError
from actionparty.model.network import Network
from actionparty.model.tokens import Subjects
from actionparty.training.checkpoint import load_tensors, save_tensors
from actionparty.training.lots import StepNoise
from actionparty.training.sampling import SampledStep, sample_step
from actionparty.types import CELL, CELL_CHANNELS, NO_ACTION, Bools, Floats, Frame, Scene, SubjectStates, WorldSpec
from actionparty.vocabulary import action_ids

FORMAT = 1


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


@dataclass(frozen=True)
class _Table:
    """Everything that changes from step to step. T rows of the past, oldest first; B rollouts."""

    context: Tensor
    """(B, K, M, 192) uint8"""
    position: Tensor
    facing: Tensor
    alive: Tensor
    past_action: Tensor
    age: Tensor
    identity: Tensor
    """(B, N, 192) uint8"""
    noise: Tensor
    """(B, S) uint8 state of each rollout's generator"""

    def map(self, function: Callable[[Tensor], Tensor]) -> _Table:
        return _Table(**{name: function(value) for name, value in vars(self).items()})


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
        self._table: _Table | None = None

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

    def _started(self) -> _Table:
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
        rows = [self._first(scene, seed) for scene, seed in zip(scenes, seeds, strict=True)]
        columns = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        self._table = _Table(**columns).map(lambda x: x.to(self.device))

    def _start(self, spec: WorldSpec, settings: RolloutConfig) -> None:
        if settings.snap and spec.name not in self.network.palettes:
            raise InvalidInputError(f"no known tiles of {spec.name} to snap to come with these weights.")
        if settings.engine != self.settings.engine:
            self._wanted, self._engine = settings.engine, None
            settings = replace(settings, engine=choose(settings.engine, self.device, [self.network]))
        self._spec, self.settings = spec, settings

    def _first(self, scene: Scene, seed: int) -> dict[str, Tensor]:
        config = self.network.config
        ids = np.array(action_ids(scene.world.actions))
        rows = np.maximum(np.arange(-config.memory, 0) + len(scene.actions), 0)
        frames = np.maximum(np.arange(-config.context, 0) + len(scene.frames), 0)
        known = np.arange(-config.memory, 0) + len(scene.actions) >= 0
        actions = np.where((scene.actions >= 0)[rows] & known[:, None], ids[scene.actions[rows]], -1)
        generator = torch.Generator()
        generator.manual_seed(seed)
        return {
            "context": torch.from_numpy(np.stack([to_cells(scene.frames[f]) for f in frames])),
            "position": torch.from_numpy(scene.states.position[rows].astype(np.float32)),
            "facing": torch.from_numpy(scene.states.facing[rows].astype(np.int64)),
            "alive": torch.from_numpy(scene.states.alive[rows].copy()),
            "past_action": torch.from_numpy(actions.astype(np.int64)),
            "age": torch.from_numpy(_age(scene)),
            "identity": torch.from_numpy(scene.identities.reshape(-1, CELL_CHANNELS).copy()),
            "noise": generator.get_state(),
        }

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
        noise, state = self._draw(table, spec)
        sampled = sample_step(
            self.engine,
            to_unit(table.context),
            self._subjects(table, ids),
            spec.grid,
            torch.full((len(array),), self.network.world_index(spec.name), device=self.device),
            noise,
            self.settings,
            self.network.known(spec.name),
            self.network.chances.get(spec.name),
        )
        self._table = self._advance(table, sampled, ids, state)
        return self._answer(sampled)

    def _draw(self, table: _Table, spec: WorldSpec) -> tuple[StepNoise, Tensor]:
        generators = []
        for row in table.noise:
            generator = torch.Generator()
            generator.set_state(row.cpu().clone())  # a view with an offset crashes torch 2.13
            generators.append(generator)
        noise = StepNoise.draw(generators, spec.subjects, spec.grid[0] * spec.grid[1])
        moved = StepNoise(*(value.to(self.device) for value in vars(noise).values()))
        return moved, torch.stack([g.get_state() for g in generators])

    @staticmethod
    def _subjects(table: _Table, action: Tensor) -> Subjects:
        return Subjects(
            table.position,
            table.facing,
            table.alive,
            table.past_action,
            action,
            table.age,
            to_unit(table.identity),
        )

    def _advance(self, table: _Table, sampled: SampledStep, action: Tensor, noise: Tensor) -> _Table:
        pixels = to_pixels(sampled.pixels)
        if self.settings.snap:
            pixels = self._snapped(pixels, sampled.changed)
        steady = sampled.alive == table.alive[:, -1]
        return replace(
            table,
            context=_push(table.context, pixels),
            position=_push(table.position, sampled.position),
            facing=_push(table.facing, sampled.facing),
            alive=_push(table.alive, sampled.alive),
            past_action=_push(table.past_action, action),
            age=torch.where(steady, table.age + 1, torch.zeros_like(table.age)),
            noise=noise,
        )

    def _snapped(self, pixels: Tensor, changed: Tensor) -> Tensor:
        palette = to_pixels(self.network.palettes[self.spec.name].tiles).to(pixels.device)
        rows, cells = changed.nonzero(as_tuple=True)
        nearest = torch.cdist(pixels[rows, cells].float(), palette.float()).argmin(1)
        out = pixels.clone()
        out[rows, cells] = palette[nearest]
        return out

    def _answer(self, sampled: SampledStep) -> RolloutStep:
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
            sampled.reward.cpu().numpy(),
            (sampled.end > 0.5).cpu().numpy(),
            sampled.finite.cpu().numpy(),
            sampled.reward_odds.cpu().numpy(),
        )

    def last(self) -> RolloutStep:
        """Return the current frames and states again, without rewards."""
        table = self._started()
        b, n = table.age.shape
        nothing = SampledStep(
            table.context[:, -1],
            table.position[:, -1],
            table.facing[:, -1],
            table.alive[:, -1],
            torch.zeros(0),
            torch.zeros(b, n),
            torch.zeros(b),
            torch.ones(b, dtype=torch.bool),
            torch.zeros(b, n),
        )
        return self._answer(nothing)

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
        other._table = table.map(lambda x: x[chosen].clone())
        if seeds is not None:
            states = [torch.Generator().manual_seed(seed).get_state() for seed in seeds]
            other._table = replace(other._table, noise=torch.stack(states).to(self.device))
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
            table = _Table(**tensors).map(lambda x: x.to(self.device))
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


def _age(scene: Scene) -> NDArray[np.float32]:
    """(N,) steps since aliveness last changed, as far as ``scene`` shows; repetitions of its first row don't count."""
    led = (scene.actions != NO_ACTION).any(1)
    before = int(led.argmax()) if led.any() else len(led)
    age: NDArray[np.float32] = alive_age(scene.states.alive[max(0, before - 1) :])[-1]
    return age


def _push(rows: Tensor, new: Tensor) -> Tensor:
    """Drop the oldest of ``rows`` (B, T, ...) and append ``new`` (B, ...)."""
    return torch.cat([rows[:, 1:], new[:, None].to(rows.dtype)], 1)


def to_cells(frame: Frame) -> NDArray[np.uint8]:
    """(H, W, 3) -> (M, 192), row by row."""
    h, w = frame.shape[0] // CELL, frame.shape[1] // CELL
    cells = frame.reshape(h, CELL, w, CELL, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(cells).reshape(h * w, CELL_CHANNELS)


def from_cells(cells: NDArray[np.uint8], h: int, w: int) -> NDArray[np.uint8]:
    """(..., M, 192) -> (..., H, W, 3)."""
    lead = cells.shape[:-2]
    tiles = cells.reshape(*lead, h, w, CELL, CELL, 3)
    return np.ascontiguousarray(np.swapaxes(tiles, -4, -3)).reshape(*lead, h * CELL, w * CELL, 3)
