"""A vector of worlds for TorchRL, and so for BenchMARL: one environment of batch size (B,) with a group of N agents.

Keys are those of TorchRL's own multi-agent environments: ``("agents", "observation", kind)``, ``("agents", "action")``,
``("agents", "reward")``, and ``done``, ``terminated``, ``truncated`` per world. Needs TorchRL; nothing else here
imports this module.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import Bounded, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase

from actionparty.environment.observing import Arrays
from actionparty.environment.vector import VectorRollout
from actionparty.errors import InvalidInputError

GROUP = "agents"


class VectorEnv(EnvBase):  # type: ignore[misc]  # TorchRL carries no types
    """B worlds of N subjects, all of whose tensors are on the CPU.

    Raises:
        InvalidInputError: ``vector`` starts new episodes by itself, which TorchRL does.
    """

    def __init__(self, vector: VectorRollout) -> None:
        if vector.auto_reset:
            raise InvalidInputError("TorchRL resets by itself: make the vector with auto_reset=False.")
        super().__init__(batch_size=torch.Size([vector.size]))
        self.vector = vector
        self.group_map = {GROUP: [f"subject_{i}" for i in range(vector.spec.subjects)]}
        self._seed: int | None = None
        each = (vector.size, vector.spec.subjects)
        self.observation_spec = self._grouped("observation", self._observation_spec())
        self.action_spec = self._grouped("action", Categorical(len(vector.spec.actions), shape=torch.Size(each)))
        self.reward_spec = self._grouped("reward", Unbounded((*each, 1)))
        one = Categorical(2, shape=torch.Size([vector.size, 1]), dtype=torch.bool)
        names = ("done", "terminated", "truncated")
        self.done_spec = Composite({name: one.clone() for name in names}, shape=self.batch_size)

    def _grouped(self, name: str, spec: Any) -> Any:
        inner = Composite({name: spec}, shape=(*self.batch_size, self.vector.spec.subjects))
        return Composite({GROUP: inner}, shape=self.batch_size)

    def _observation_spec(self) -> Any:
        observer, each = self.vector.observer, (*self.batch_size, self.vector.spec.subjects)
        boxes = {}
        for kind in observer.kinds:
            top, dtype = (1, torch.float32) if kind == "state" else (255, torch.uint8)
            boxes[kind] = Bounded(0, top, (*each, *observer.shape(kind)), dtype=dtype)
        return Composite(boxes, shape=each)

    def _reset(self, tensordict: TensorDictBase | None, **_: Any) -> TensorDictBase:
        """Start an episode in every world, or in those that ``_reset`` marks."""
        marked = None if tensordict is None else tensordict.get("_reset", None)
        if marked is None or bool(marked.all()):
            seed, self._seed = self._seed, None
            observations = self.vector.reset(seed)
        else:
            observations = self.vector.restart(np.flatnonzero(marked.reshape(-1).numpy()).tolist())
        return self._tell(observations, {})

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Step every world."""
        step = self.vector.step(tensordict[GROUP, "action"].cpu().numpy())
        told = self._tell(step.observations, {"terminated": step.ended, "truncated": step.truncated})
        told[GROUP, "reward"] = torch.from_numpy(step.rewards[..., None])
        return told

    def _tell(self, observations: Arrays, ends: dict[str, Any]) -> TensorDictBase:
        """Return a new tensordict; without ``ends`` nothing is over."""
        none = np.zeros(self.vector.size, np.bool_)
        ended, cut = ends.get("terminated", none), ends.get("truncated", none)
        over = {"terminated": ended, "truncated": cut, "done": ended | cut}
        told = TensorDict({name: torch.from_numpy(value[:, None]) for name, value in over.items()}, self.batch_size)
        for kind, values in observations.items():
            told[GROUP, "observation", kind] = torch.from_numpy(np.array(values))
        told[GROUP].batch_size = torch.Size([*self.batch_size, self.vector.spec.subjects])
        told[GROUP, "observation"].batch_size = told[GROUP].batch_size
        return told

    def _set_seed(self, seed: int | None) -> None:
        self._seed = seed

    def close(self, **_: Any) -> None:
        """Free the worlds."""
        super().close()
        self.vector.close()
