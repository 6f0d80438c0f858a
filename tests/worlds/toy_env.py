"""A PettingZoo environment as a third party would write it, and functions that make worlds of it, well and badly."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from actionparty.types import World
from actionparty.worlds.pettingzoo import PettingZooWorld

ACTIONS = ("noop", "forward", "backward", "own_3")
H, W = 4, 5
COLORS = np.array([(250, 0, 0), (0, 250, 0), (0, 0, 250)], np.uint8)


class ToyEnv(ParallelEnv):  # type: ignore[misc]  # PettingZoo carries no types
    """Agents go up and down their columns; who takes the last action is out, and the others get 1 for it.

    Which row they start in and the shade of the floor follow from the seed. After ``length`` steps all are truncated.
    """

    def __init__(self, cell: int = 8, length: int = 6, first_action: int = 0) -> None:
        self.possible_agents = ["red", "green", "blue"]
        self.agents: list[str] = []
        self.rng = np.random.default_rng()
        self.cell, self.length, self.first_action = cell, length, first_action
        self.closed = False

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Discrete(H)

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Discrete(len(ACTIONS), start=self.first_action)

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self.row = {agent: int(self.rng.integers(H)) for agent in self.agents}
        self.floor = int(self.rng.integers(100))
        self.steps = 0
        return dict(self.row), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> Any:
        assert set(actions) == set(self.agents)
        assert all(self.action_space(agent).contains(action) for agent, action in actions.items())
        acted = {agent: ACTIONS[action - self.first_action] for agent, action in actions.items()}
        self.steps += 1
        self.floor = int(self.rng.integers(100))
        for agent, name in acted.items():
            way = {"forward": -1, "backward": 1}.get(name, 0)
            self.row[agent] = int(np.clip(self.row[agent] + way, 0, H - 1))
        out = {agent: name == "own_3" for agent, name in acted.items()}
        over = self.steps >= self.length
        self.agents = [] if over else [agent for agent in self.agents if not out[agent]]
        rewards = {agent: 0.0 if out[agent] else float(sum(out.values())) for agent in acted}
        return dict(self.row), rewards, out, dict.fromkeys(acted, over), {agent: {} for agent in acted}

    def render(self) -> NDArray[np.uint8]:
        cells = np.full((H, W, 3), self.floor, np.uint8)
        for agent in self.agents:
            x = self.possible_agents.index(agent)
            cells[self.row[agent], x] = COLORS[x]
        return cells.repeat(self.cell, 0).repeat(self.cell, 1)

    def close(self) -> None:
        self.closed = True


def positions(env: ToyEnv) -> dict[str, tuple[int, int]]:
    """Of those still there only."""
    return {agent: (env.possible_agents.index(agent), env.row[agent]) for agent in env.agents or env.possible_agents}


def wrapped(env: Any, **more: Any) -> PettingZooWorld:
    options: dict[str, Any] = {"name": "toy-3", "actions": ACTIONS, "positions": positions}
    return PettingZooWorld(env, **(options | more))


def make_world() -> PettingZooWorld:
    return wrapped(ToyEnv(length=40))


def make_longer() -> PettingZooWorld:
    return wrapped(ToyEnv(length=40), actions=("noop", "forward", "backward", "own_4"))


def make_named_badly() -> World:
    return wrapped(ToyEnv(), name="my world/1")


def make_arena() -> World:
    return wrapped(ToyEnv(), name="arena")


def make_bare() -> ToyEnv:
    return ToyEnv()


def make_trouble() -> World:
    raise RuntimeError("the licence server is down")


NOT_A_FUNCTION = 3
