"""A vector of worlds for Stable-Baselines3: every subject of every world is one environment of a ``VecEnv``.

One policy learns from all of them (parameter sharing). Needs Stable-Baselines3; nothing else here imports this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from actionparty.environment.observing import Arrays
from actionparty.environment.spaces import action_space, observation_space
from actionparty.environment.vector import Final, VectorRollout
from actionparty.errors import InvalidInputError


class SubjectsVecEnv(VecEnv):
    """B worlds of N subjects as B x N environments, world by world, subjects in order.

    Raises:
        InvalidInputError: ``vector`` doesn't start new episodes by itself.
    """

    def __init__(self, vector: VectorRollout) -> None:
        if not vector.auto_reset:
            raise InvalidInputError("Stable-Baselines3 needs a vector with auto_reset=True.")
        self.vector = vector
        self.render_mode = "rgb_array"
        self._actions: NDArray[Any] = np.zeros(0, np.int64)
        subjects = vector.size * vector.spec.subjects
        super().__init__(subjects, observation_space(vector.observer), action_space(vector.spec))

    def reset(self) -> Arrays:
        """Start an episode in every world; seeded by ``seed`` if that was called before."""
        observations = self.vector.reset(self._seeds[0])
        self._reset_seeds()
        return self._flat(observations)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep ``actions`` (B x N,) for ``step_wait``."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step all worlds at once."""
        step = self.vector.step(np.asarray(self._actions).reshape(self.vector.size, -1))
        each = self.vector.spec.subjects
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if step.final is not None:
            self._tell(infos, step.final, step.truncated)
        done = np.repeat(step.ended | step.truncated, each)
        return self._flat(step.observations), step.rewards.reshape(-1), done, infos

    def close(self) -> None:
        """Free the worlds."""
        self.vector.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return the frame of each world, once for each of its subjects."""
        return [frame for frame in self.vector.frames for _ in range(self.vector.spec.subjects)]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of the vector, once for each of the ``indices``."""
        return [getattr(self if attr_name == "render_mode" else self.vector, attr_name) for _ in self._at(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refuse: subjects share their world, and worlds their network."""
        raise InvalidInputError(f"{attr_name} can't be set for single subjects; make another vector.")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Refuse: subjects share their world, and worlds their network."""
        raise InvalidInputError(f"{method_name} can't be called for single subjects; call it on the vector.")

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Return that none is."""
        return [False for _ in self._at(indices)]

    def _at(self, indices: VecEnvIndices) -> list[int]:
        return list(self._get_indices(indices))

    def _flat(self, observations: Arrays) -> Arrays:
        """(B, N, ...) -> (B x N, ...)"""
        return {kind: values.reshape(-1, *values.shape[2:]) for kind, values in observations.items()}

    def _tell(self, infos: list[dict[str, Any]], final: Final, truncated: NDArray[np.bool_]) -> None:
        """Add what SB3 wants to know of the subjects whose episode is over."""
        each = self.vector.spec.subjects
        for k, row in enumerate(final.rows.tolist()):
            for i in range(each):
                last = {kind: values[k, i] for kind, values in final.observations.items()}
                infos[row * each + i] = {"terminal_observation": last, "TimeLimit.truncated": bool(truncated[row])}
