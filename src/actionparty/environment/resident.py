"""Many rollouts that stay on one device: actions and frames are tensors there, and new episodes begin by themselves.

Shapes and work never depend on data, so nothing is waited for: on a GPU a step is one recorded CUDA graph, and Python
runs ahead of it. Row b is a function of its seed and its actions alone, on any device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from actionparty.config import CAPACITY, MAX_STEPS, RolloutConfig
from actionparty.engines.engine import TorchEngine
from actionparty.engines.halved import HalvedEngine
from actionparty.environment.inputs import SEEDS, row_seeds, whole
from actionparty.errors import InvalidInputError
from actionparty.model.network import Network
from actionparty.rollout.recorded import Recorded
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.table import Table, fresh_chance, from_cells
from actionparty.training.lots import scramble, uniform
from actionparty.types import Scene, WorldSpec
from actionparty.vocabulary import action_ids

ENGINES_HERE = ("torch", "torch-bf16")
"""Engines that can run such rollouts"""
_NEXT, _START = 0x5DEECE66D, 0x2545F4914F6CDD1D
"""Added to an episode's seed for the seed of the next one, and for the scene that it starts from"""
_COLUMNS = len(Table.__dataclass_fields__)


@dataclass(frozen=True)
class ResidentStep:
    """What B rollouts answer to one step: tensors on their device, overwritten by the next step.

    They are PyTorch's inference tensors: clone what you keep, or what gradients are to go through.
    """

    frames: Tensor
    """(B, H, W, 3) uint8; of the first frame of the next episode where one is over"""
    position: Tensor
    """(B, N, 2) x, y in cells, as the frames show it"""
    facing: Tensor
    """(B, N) long, 0 to 3 for N, E, S, W"""
    alive: Tensor
    """(B, N) bool"""
    final_frames: Tensor
    """(B, H, W, 3) uint8 what the step led to, also where a new episode has begun since"""
    rewards: Tensor
    """(B, N) of the step, 0 where the network failed"""
    ended: Tensor
    """(B,) bool, the world ended"""
    truncated: Tensor
    """(B,) bool, it did not, but the episode was cut: it is long enough, or the network said what is no number"""
    waiting: Tensor
    """(B,) long, cells that should have changed, but for which there was no room; they come later, or not at all"""


class ResidentRollout:
    """B rollouts of one world whose actions and frames are tensors on the device of the network."""

    def __init__(
        self,
        network: Network,
        scenes: Sequence[Scene],
        size: int,
        settings: RolloutConfig | None = None,
        device: torch.device | None = None,
        *,
        max_steps: int = MAX_STEPS,
        capacity: float = CAPACITY,
        compiled: bool = False,
    ) -> None:
        """Generate ``size`` rollouts; each episode starts from one of ``scenes``, drawn by its seed.

        Of the cells of a frame at most the share ``capacity`` changes in one step; with 1 it is what ``BatchRollout``
        generates. With ``compiled`` the network's blocks are compiled in their first step, which takes a minute or so.

        Raises:
            InvalidInputError: no scene, scenes of different worlds, a ``size`` or ``max_steps`` that is no whole number
                of at least 1, a ``capacity`` outside (0, 1], an engine that can't run it, or ``settings.snap``.
        """
        self.size, self.max_steps = whole("the number of worlds", size, 1), whole("max_steps", max_steps, 1)
        if not 0 < capacity <= 1:
            raise InvalidInputError(f"capacity must be above 0 and at most 1, but is {capacity}.")
        wanted = settings or RolloutConfig()
        if wanted.snap or wanted.engine not in ENGINES_HERE:
            raise _refusal(wanted.engine)
        self._rollout = BatchRollout(network, wanted, device)
        engine = self._rollout.engine
        if not isinstance(engine, TorchEngine | HalvedEngine):  # where the one asked for can't be used
            raise _refusal(engine.name)
        self._rollout.reset(scenes, [0] * len(scenes))
        self.device = self._rollout.device
        h, w = self.spec.grid
        self.capacity = max(1, round(capacity * h * w))
        """Cells for which there is room in a step"""
        self._starts = self._rollout._started()
        self._ids = torch.tensor(action_ids(self.spec.actions), device=self.device)
        self._table: Table | None = None
        self._function = Recorded(self._step) if self.device.type == "cuda" else self._step
        if compiled:
            for block in engine.runs.blocks():
                block.compile(dynamic=False)

    @property
    def spec(self) -> WorldSpec:
        """The world being generated; ``spec.actions`` names the actions."""
        return self._rollout.spec

    @torch.inference_mode()
    def reset(self, seed: int | Sequence[int] | None = None) -> Tensor:
        """Start an episode in every rollout and return the frames (B, H, W, 3) uint8.

        Rollout b is seeded with ``seed`` + b, or with the b-th of B given seeds; without, by chance.

        Raises:
            InvalidInputError: a seed that is no whole number from 0 to 2**63 - 1, or not one for each rollout.
        """
        drawn = np.random.default_rng().integers(SEEDS, size=self.size).tolist() if seed is None else seed
        seeds = [each for each in row_seeds(drawn, self.size) if each is not None]
        self._table = self._begun(fresh_chance(seeds)["seed"].to(self.device))
        return self._pictures(self._table)

    @torch.inference_mode()
    def step(self, actions: Tensor, *, checked: bool = True) -> ResidentStep:
        """Advance every rollout by one step with ``actions`` (B, N) long on the device, indices into ``spec.actions``.

        Whether actions are in range is ``checked``, for which a GPU has to be waited for; unchecked ones that are not
        count as the nearest that is.

        Raises:
            InvalidInputError: no ``reset`` yet, actions of another shape, type or device, or one out of range.
        """
        if self._table is None:
            raise InvalidInputError(f"{self.spec.name}: no episode is running; call reset first.")
        shape, count = (self.size, self.spec.subjects), len(self._ids)
        if actions.shape != shape or actions.dtype != torch.long or actions.device.type != self.device.type:
            raise InvalidInputError(
                f"{self.spec.name}: expected int64 actions of shape {shape} on {self.device}, but got "
                f"{actions.dtype} of shape {tuple(actions.shape)} on {actions.device}."
            )
        if checked and bool(((actions < 0) | (actions >= count)).any()):
            raise InvalidInputError(
                f"{self.spec.name}: actions are 0 ({self.spec.actions[0]}) to {count - 1} ({self.spec.actions[-1]}), "
                f"but they reach from {int(actions.min())} to {int(actions.max())}."
            )
        made = self._function(*vars(self._table).values(), actions)
        self._table = Table(*made[:_COLUMNS])
        now = self._table
        pictures, final, rewards, ended, truncated, waiting = made[_COLUMNS:]
        return ResidentStep(
            pictures,
            now.position[:, -1],
            now.facing[:, -1],
            now.alive[:, -1],
            final,
            rewards,
            ended,
            truncated,
            waiting,
        )

    def _step(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """One step as a function of tensors: a table and actions; a table, pictures, and what else there is to say."""
        table, action = Table(*tensors[:_COLUMNS]), self._ids[tensors[_COLUMNS].clamp(0, len(self._ids) - 1)]
        sampled = self._rollout.sample(table, action, self.capacity)
        after = table.advance(sampled, action)
        sound = sampled.finite & sampled.reward.isfinite().all(1)
        rewards = torch.where(sound[:, None], sampled.reward, torch.zeros_like(sampled.reward))
        ended = sampled.end > 0.5
        truncated = ~ended & (~sound | (after.step >= self.max_steps))
        final = self._pictures(after)
        begun, over = self._begun(scramble(after.seed + _NEXT)), ended | truncated
        rows = zip(vars(begun).values(), vars(after).values(), strict=True)
        now = Table(*(torch.where(over.reshape(-1, *[1] * (new.dim() - 1)), new, old) for new, old in rows))
        return (*vars(now).values(), self._pictures(now), final, rewards, ended, truncated, sampled.waiting)

    def _begun(self, seeds: Tensor) -> Table:
        """Return episodes that begin with ``seeds`` (B,), from the scenes that these draw."""
        count = len(self._starts.seed)
        drawn = (uniform(scramble(seeds + _START)) * count).long().clamp(max=count - 1)
        begun = self._starts.map(lambda x: x[drawn])
        return Table(**{**vars(begun), "seed": seeds, "step": torch.zeros_like(seeds)})

    def _pictures(self, table: Table) -> Tensor:
        """(B, H, W, 3) uint8 the current frames."""
        return from_cells(table.context[:, -1], *self.spec.grid)


def _refusal(engine: str) -> InvalidInputError:
    return InvalidInputError(
        f"rollouts that stay on a device run without snap and with engine {' or '.join(ENGINES_HERE)}, not {engine}."
    )
