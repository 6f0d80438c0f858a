"""Any PettingZoo ``ParallelEnv`` that renders RGB as a ``World``: what its pictures don't tell, its user tells.

It uses the interface only, so it imports neither PettingZoo nor Gymnasium.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from actionparty.errors import InvalidInputError, UnknownNameError
from actionparty.types import CELL, FACINGS, Floats, Frame, Ints, Observation, Scene, SubjectStates, WorldSpec
from actionparty.vocabulary import action_ids

MAX_CELLS = 4096
"""Cells in a frame at most, four times the largest map of Melting Pot: a model attends from each to all others."""

Tell = Callable[[Any], Mapping[Any, Any]]
"""Given the environment, returns something of each agent by its name."""


class PettingZooWorld:
    """Play ``env``, whose ``possible_agents`` are the subjects in this order, as the world ``name``.

    ``positions(env)`` says where each agent is: (x, y) in cells, (0, 0) the centre of the cell at the top left;
    fractions are welcome. ``facings(env)`` says whither it looks, as ``N E S W`` or 0 to 3 (default: all N).
    ``alive(env)`` says whether it is there; by default it is until it terminates. An agent that isn't needs no
    position. ``actions`` names all actions, in the order of their numbers, from ``vocabulary.ACTIONS``. ``cell`` is
    the side of a cell in the rendered picture: pictures are scaled so that it becomes 8 pixels.

    An episode ends when no agent is left, terminated or truncated. The size of the frame is found by a first reset.

    Raises:
        InvalidInputError: not such an environment, or a frame, position, facing or reward that no world can have.
        UnknownNameError: an action that is not in the vocabulary.
    """

    def __init__(
        self,
        env: Any,
        name: str,
        actions: Sequence[str],
        positions: Tell,
        facings: Tell | None = None,
        alive: Tell | None = None,
        cell: int = CELL,
    ) -> None:
        self._env, self._name, self._cell = env, name, cell
        self._agents = _agents(env, name)
        self._first_action = _first_actions(env, name, self._agents, actions)
        self._positions, self._facings, self._alive = positions, facings, alive
        env.reset(seed=0)
        h, w = self._frame().shape[:2]
        self._spec = WorldSpec(name, len(self._agents), (h // CELL, w // CELL), tuple(actions))
        self._acting: list[Any] = []

    @property
    def spec(self) -> WorldSpec:
        """What this world is."""
        return self._spec

    def reset(self, *, seed: int | None = None, scene: Scene | None = None) -> Observation:
        """Start an episode; the same ``seed`` gives the same one as far as the environment keeps that promise.

        Raises:
            InvalidInputError: a ``scene`` was given, or as above.
        """
        if scene is not None:
            raise InvalidInputError(f"{self._name}: a real world can't start from a scene; give a seed.")
        self._env.reset(seed=seed)
        self._dead: set[Any] = set()
        self._left: set[Any] = set()
        self._last = np.zeros((len(self._agents), 2), np.float32)
        self._facing = np.zeros(len(self._agents), np.int64)
        self._acting = self._who_acts()
        if not self._acting:
            raise InvalidInputError(f"{self._name}: nobody is there after a reset; `env.agents` is empty.")
        return self._observe({}, set(self._acting))

    def step(self, actions: Ints) -> Observation:
        """Advance by one step with one action index per subject; those of agents that have left do nothing.

        Raises:
            InvalidInputError: wrong actions, no episode is running, or as above.
        """
        if not self._acting:
            raise InvalidInputError(f"{self._name}: no episode is running; call reset first.")
        chosen = dict(zip(self._agents, self._spec.check_actions(actions).tolist(), strict=True))
        answer = self._env.step({agent: self._first_action[agent] + chosen[agent] for agent in self._acting})
        rewards, terminated, truncated = self._answer(answer)
        self._dead |= {agent for agent in self._acting if terminated[agent]}
        self._left |= self._dead | {agent for agent in self._acting if truncated[agent]}
        before, self._acting = self._acting, self._who_acts()
        return self._observe(rewards, {*before, *self._acting} - self._dead)

    def close(self) -> None:
        """Close the environment."""
        self._acting = []
        self._env.close()

    def _who_acts(self) -> list[Any]:
        """Return the agents that are there and have not finished, in the order of the subjects."""
        strange = [str(agent) for agent in self._env.agents if agent not in self._agents]
        if strange:
            raise InvalidInputError(
                f"{self._name}: agents {', '.join(strange)} are not among its possible_agents; list all that can come."
            )
        return [agent for agent in self._agents if agent in self._env.agents and agent not in self._left]

    def _answer(self, answer: Any) -> tuple[Mapping[Any, Any], Mapping[Any, Any], Mapping[Any, Any]]:
        """Return rewards, terminations and truncations of those who acted, from what ``step`` of ``env`` answered."""
        if not isinstance(answer, tuple) or len(answer) != 5 or not all(isinstance(part, Mapping) for part in answer):
            raise InvalidInputError(
                f"{self._name}: step must answer five dicts, as a PettingZoo ParallelEnv does (observations, rewards, "
                "terminations, truncations, infos). An AEC environment becomes one by pettingzoo's aec_to_parallel."
            )
        told = dict(zip(("rewards", "terminations", "truncations"), answer[1:4], strict=True))
        for what, values in told.items():
            if missing := [str(agent) for agent in self._acting if agent not in values]:
                raise InvalidInputError(f"{self._name}: step gave no {what} for {', '.join(missing)}, who acted.")
        return told["rewards"], told["terminations"], told["truncations"]

    def _observe(self, rewards: Mapping[Any, Any], there: set[Any]) -> Observation:
        received = np.array([rewards.get(agent, 0.0) for agent in self._agents], np.float32)
        if not np.isfinite(received).all():
            raise InvalidInputError(f"{self._name}: a reward is not a finite number: {received.tolist()}.")
        frame = self._frame()
        if frame.shape[:2] != (self._spec.grid[0] * CELL, self._spec.grid[1] * CELL):
            h, w = frame.shape[:2]
            raise InvalidInputError(
                f"{self._name}: its frames were {self._spec.grid} cells, now one has {w}x{h} pixels."
            )
        return Observation(frame, self._states(there), received, not self._acting)

    def _states(self, there: set[Any]) -> SubjectStates:
        told = {agent: agent in there for agent in self._agents} if self._alive is None else self._alive(self._env)
        alive = np.array([bool(told.get(agent, False)) for agent in self._agents])
        places = self._positions(self._env)
        facings = {} if self._facings is None else self._facings(self._env)
        for i, agent in enumerate(self._agents):
            if alive[i]:
                self._last[i] = self._place(agent, places)
                self._facing[i] = 0 if self._facings is None else self._whither(agent, facings)
        return SubjectStates(self._last.copy(), self._facing.copy(), alive)

    def _place(self, agent: Any, places: Mapping[Any, Any]) -> Floats:
        """Return where ``agent`` is, (2,)."""
        if agent not in places:
            raise InvalidInputError(f"{self._name}: positions says nothing of {agent}, who is alive.")
        place = np.asarray(places[agent], np.float32)
        (h, w), cells = self._spec.grid, np.rint(place) if place.shape == (2,) else np.array([np.nan, np.nan])
        if not (0 <= cells[0] < w and 0 <= cells[1] < h):
            raise InvalidInputError(
                f"{self._name}: {agent} is at {place.tolist()}, but a place is (x, y) in cells and in the frame of "
                f"{w}x{h} cells, (0, 0) being the cell at the top left; an agent outside is not `alive`."
            )
        return place

    def _whither(self, agent: Any, facings: Mapping[Any, Any]) -> int:
        facing = facings.get(agent)
        if facing in FACINGS:
            return FACINGS.index(facing)
        if isinstance(facing, int | np.integer) and 0 <= facing < len(FACINGS):
            return int(facing)
        raise InvalidInputError(f"{self._name}: {agent} faces {facing!r}; a facing is N, E, S or W, or 0 to 3.")

    def _frame(self) -> Frame:
        """Return what ``env`` renders, scaled to cells of 8 pixels, a new array."""
        return _scaled(_rendered(self._env, self._name), self._cell, self._name)


def _agents(env: Any, name: str) -> list[Any]:
    """Return all agents that ``env`` can have."""
    agents = list(getattr(env, "possible_agents", ()))
    wanted = ("reset", "step", "render", "close", "action_space")
    missing = [each for each in wanted if not callable(getattr(env, each, None))]
    if not agents or missing or len(set(agents)) < len(agents):
        lacks = f"it has no {', '.join(missing)}" if missing else "its possible_agents must be names, each once"
        raise InvalidInputError(f"{name}: {type(env).__name__} is no PettingZoo ParallelEnv: {lacks}.")
    return agents


def _first_actions(env: Any, name: str, agents: Sequence[Any], actions: Sequence[str]) -> dict[Any, int]:
    """Return the number of the first action of each agent, after checking that ``actions`` names them all."""
    try:
        action_ids(tuple(actions))
    except UnknownNameError as error:
        raise UnknownNameError(
            f"{name}: {error} Actions mean the same in all worlds (actionparty.vocabulary.ACTIONS); what means none "
            "of these is called own_1 to own_8."
        ) from error
    if len(set(actions)) < len(actions):
        raise InvalidInputError(f"{name}: two actions have one name: {', '.join(actions)}.")
    for agent in agents:
        space = env.action_space(agent)
        if getattr(space, "n", None) != len(actions):
            raise InvalidInputError(
                f"{name}: {len(actions)} actions have names, but {agent} acts in {space}. All agents need the same "
                "discrete actions, each with a name; ask the environment for discrete ones where it has both."
            )
    return {agent: int(getattr(env.action_space(agent), "start", 0)) for agent in agents}


def _rendered(env: Any, name: str) -> Frame:
    frame = env.render()
    if frame is None:
        raise InvalidInputError(f"{name}: it renders no picture; make it with render_mode='rgb_array'.")
    picture = np.asarray(frame)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise InvalidInputError(
            f"{name}: it renders {picture.dtype} of shape {picture.shape}; a picture is uint8 RGB, (height, width, 3)."
        )
    return picture


def _scaled(picture: Frame, cell: int, name: str) -> Frame:
    """Return ``picture`` with cells of 8 pixels instead of ``cell``, a new array."""
    h, w = picture.shape[:2]
    if cell < 1 or h % cell or w % cell or not picture.size:
        raise InvalidInputError(
            f"{name}: its picture has {w}x{h} pixels, which is no whole number of cells of {cell}x{cell}; say how many "
            "pixels of it are one cell (cell=...), or pad the picture."
        )
    rows, columns = h // cell, w // cell
    if rows * columns > MAX_CELLS:
        raise InvalidInputError(
            f"{name}: its picture has {w}x{h} pixels, {columns}x{rows} cells, and more than {MAX_CELLS} are too many; "
            "give the pixels that one cell of its map takes (cell=...)."
        )
    if cell == CELL:
        return picture.copy()
    size = (columns * CELL, rows * CELL)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX)).copy()
