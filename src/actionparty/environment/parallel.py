"""A world as a PettingZoo ``ParallelEnv``. Needs PettingZoo; imported when an environment is made, not before."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from actionparty.environment.observing import Arrays
from actionparty.environment.spaces import action_space, observation_space, state_space
from actionparty.environment.vector import VectorRollout
from actionparty.errors import InvalidInputError, unknown_name
from actionparty.types import Frame, WorldSpec

RENDER_MODES = ("rgb_array",)


class WorldEnv(ParallelEnv):  # type: ignore[misc]  # PettingZoo carries no types
    """One world with one agent per subject, ``subject_0`` to ``subject_{N-1}``; made by ``actionparty.env``.

    All agents stay until the episode ends for all at once: the world terminates, or it is truncated. A subject that is
    not alive remains an agent whose actions do nothing, for it may come back; ``infos`` say who is ``alive``.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "actionparty_v0",
        "render_modes": list(RENDER_MODES),
        "render_fps": 8,
        "is_parallelizable": True,
    }

    def __init__(self, vector: VectorRollout, render_mode: str | None = "rgb_array") -> None:
        """Play the one world of ``vector``.

        Raises:
            InvalidInputError: ``vector`` has several worlds or starts new episodes by itself.
            UnknownNameError: no such render mode.
        """
        if vector.size != 1 or vector.auto_reset:
            raise InvalidInputError("a ParallelEnv is one world that doesn't reset itself.")
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise unknown_name("render mode", render_mode, RENDER_MODES)
        self.render_mode = render_mode
        self._vector = vector
        self.possible_agents = [f"subject_{i}" for i in range(vector.spec.subjects)]
        self.agents: list[str] = []
        self._seeing = {agent: observation_space(vector.observer) for agent in self.possible_agents}
        self._acting = {agent: action_space(vector.spec) for agent in self.possible_agents}
        self.state_space = state_space(vector.spec)

    @property
    def spec(self) -> WorldSpec:
        """What the world is."""
        return self._vector.spec

    @property
    def action_names(self) -> tuple[str, ...]:
        """What each action means, in the order of their numbers."""
        return self.spec.actions

    def observation_space(self, agent: str) -> spaces.Dict:
        """Return what ``agent`` observes, always the same object."""
        return self._seeing[self._known(agent)]

    def action_space(self, agent: str) -> spaces.Discrete:
        """Return how ``agent`` acts, always the same object."""
        return self._acting[self._known(agent)]

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode and return observations and infos by agent.

        The same ``seed`` starts the same episode, and the same ones after it. ``options["scene"]``, a ``Scene``, is
        where to start; other options are left alone.

        Raises:
            InvalidInputError: a seed that is no whole number from 0 to 2**63 - 1, options that are no mapping, or a
                scene that this world can't start from.
        """
        if options is not None and not isinstance(options, Mapping):
            raise InvalidInputError(
                f'options must be a mapping, as {{"scene": scene}}, but is {reprlib.repr(options)}.'
            )
        observations = self._vector.reset(seed, (options or {}).get("scene"))
        self.agents = list(self.possible_agents)
        return self._by_agent(observations), self._infos()

    def step(
        self, actions: Mapping[str, int]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """Advance by one step with one action per agent, in any order.

        Raises:
            InvalidInputError: no mapping of exactly one action for each agent, an action out of range, or no episode
                is running.
        """
        if not self.agents:
            raise InvalidInputError(f"{self.spec.name}: no episode is running (none yet, or it is over); call reset.")
        observations, rewards, ended, truncated, _ = self._vector.step([self._ordered(actions)])
        if ended[0] or truncated[0]:
            self.agents = []
        return (
            self._by_agent(observations),
            {agent: float(reward) for agent, reward in zip(self.possible_agents, rewards[0], strict=True)},
            dict.fromkeys(self.possible_agents, bool(ended[0])),
            dict.fromkeys(self.possible_agents, bool(truncated[0])),
            self._infos(),
        )

    def render(self) -> Frame | None:
        """Return the current frame (H, W, 3), a new array; nothing without a render mode."""
        return None if self.render_mode is None else self._vector.frames[0].copy()

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the frame and the states of all subjects: ``frame``, ``position``, ``facing``, ``alive``."""
        frame, states = self._vector.frames[0], self._vector.states[0]
        return {
            "frame": frame.copy(),
            "position": states.position.astype(np.float32),
            "facing": states.facing.astype(np.int64),
            "alive": states.alive.astype(np.int8),
        }

    def close(self) -> None:
        """Free the world."""
        self.agents = []
        self._vector.close()

    def _known(self, agent: str) -> str:
        if agent not in self._acting:
            raise unknown_name("agent", agent, self.possible_agents)
        return agent

    def _ordered(self, actions: Mapping[str, int]) -> list[int]:
        """Return the actions in the order of the subjects."""
        if not isinstance(actions, Mapping):
            raise InvalidInputError(
                f"{self.spec.name}: actions must be a mapping of agents to actions, as {{{self.agents[0]!r}: 0, ...}}, "
                f"but are {reprlib.repr(actions)}."
            )
        missing = [agent for agent in self.agents if agent not in actions]
        strange = [str(agent) for agent in actions if agent not in self._acting]
        if missing or strange:
            wrong = [f"no action for {', '.join(missing)}"] * bool(missing)
            wrong += [f"no agent is called {', '.join(strange)}"] * bool(strange)
            raise InvalidInputError(f"{self.spec.name}: one action for each agent, please: {'; '.join(wrong)}.")
        for agent in self.agents:
            if not self._acting[agent].contains(actions[agent]):
                raise InvalidInputError(
                    f"{self.spec.name}: action {actions[agent]!r} of {agent}; actions are 0 ({self.action_names[0]}) "
                    f"to {len(self.action_names) - 1} ({self.action_names[-1]})."
                )
        return [int(actions[agent]) for agent in self.agents]

    def _by_agent(self, observations: Arrays) -> dict[str, dict[str, NDArray[Any]]]:
        """Return what each agent observes, its own arrays."""
        return {
            agent: {kind: values[0, i].copy() for kind, values in observations.items()}
            for i, agent in enumerate(self.possible_agents)
        }

    def _infos(self) -> dict[str, dict[str, bool]]:
        alive = self._vector.states.alive[0]
        return {agent: {"alive": bool(alive[i])} for i, agent in enumerate(self.possible_agents)}
