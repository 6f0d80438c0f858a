"""Robots in a warehouse (RWARE) as a world to record and learn; docs/your-own-world.md goes through this file.

    actionparty worlds --env examples.warehouse:tiny
    actionparty record --env examples.warehouse:tiny --steps 20000 --out datasets/warehouse

Needs `pip install 'actionparty[envs]'`. RWARE is no PettingZoo environment and renders by OpenGL only, so this file
adds both: the interface, and a picture in which every cell is a tile of 8x8 pixels.
"""

from __future__ import annotations

import colorsys
from typing import Any, ClassVar

import gymnasium
import numpy as np
import rware  # noqa: F401  (it tells Gymnasium its environments)
from gymnasium import spaces
from pettingzoo import ParallelEnv

from actionparty.worlds.pettingzoo import PettingZooWorld

CELL = 8
ACTIONS = ("noop", "forward", "turn_left", "turn_right", "interact")  # interact: lift the shelf here, or put it down
FLOOR, SLOT, GOAL = (44, 46, 52), (66, 62, 58), (44, 88, 160)
SHELF, REQUESTED = (150, 104, 52), (60, 170, 90)
QUARTER_TURNS = {"UP": 0, "RIGHT": 1, "DOWN": 2, "LEFT": 3}


def tiny(subjects: int = 2) -> PettingZooWorld:
    return PettingZooWorld(
        Warehouse("tiny", subjects),
        name=f"rware-tiny-{subjects}ag",
        actions=ACTIONS,
        positions=lambda env: {name: (robot.x, robot.y) for name, robot in env.robots()},
        facings=lambda env: {name: QUARTER_TURNS[robot.dir.name] for name, robot in env.robots()},
    )


class Warehouse(ParallelEnv):
    metadata: ClassVar[dict[str, Any]] = {"name": "rware", "render_modes": ["rgb_array"]}
    render_mode = "rgb_array"

    def __init__(self, size: str, robots: int) -> None:
        self.game: Any = gymnasium.make(f"rware-{size}-{robots}ag-v2", disable_env_checker=True).unwrapped
        self.possible_agents = [f"robot_{i}" for i in range(robots)]
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> spaces.Space:
        return self.game.observation_space[self.possible_agents.index(agent)]

    def action_space(self, agent: str) -> spaces.Space:
        return self.game.action_space[self.possible_agents.index(agent)]

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        observations, _ = self.game.reset(seed=seed)
        self.agents = list(self.possible_agents)
        return dict(zip(self.agents, observations, strict=True)), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        acted = self.agents
        observations, rewards, over, _, _ = self.game.step([actions[agent] for agent in acted])
        self.agents = [] if over else acted
        return (
            dict(zip(acted, observations, strict=True)),
            dict(zip(acted, map(float, rewards), strict=True)),
            dict.fromkeys(acted, False),
            dict.fromkeys(acted, bool(over)),  # 500 steps are over, nobody dies: a truncation
            {agent: {} for agent in acted},
        )

    def robots(self) -> list[tuple[str, Any]]:
        return list(zip(self.possible_agents, self.game.agents, strict=True))

    def render(self) -> np.ndarray:
        h, w = self.game.grid_size
        frame = np.empty((h, w, CELL, CELL, 3), np.uint8)
        for y in range(h):
            for x in range(w):
                frame[y, x] = ground(FLOOR if self.game._is_highway(x, y) else SLOT)
        for x, y in self.game.goals:
            frame[y, x] = ground(GOAL)
        for shelf in self.game.shelfs:
            frame[shelf.y, shelf.x] = REQUESTED if shelf in self.game.request_queue else SHELF
        for i, (_, robot) in enumerate(self.robots()):
            draw_robot(frame[robot.y, robot.x], i, QUARTER_TURNS[robot.dir.name], robot.carrying_shelf is not None)
        return frame.transpose(0, 2, 1, 3, 4).reshape(h * CELL, w * CELL, 3)

    def close(self) -> None:
        self.game.close()


def ground(color: tuple[int, int, int]) -> np.ndarray:
    tile = np.full((CELL, CELL, 3), color, np.uint8)
    tile[0, :] = tile[:, 0] = np.array(color) + 8
    return tile


def draw_robot(tile: np.ndarray, robot: int, quarter_turns: int, loaded: bool) -> None:
    """Draw a robot over what is in its cell: in its own colour, a white nose ahead, a white rim under a load."""
    if loaded:
        tile[[0, 7], :] = tile[:, [0, 7]] = (235, 235, 235)
    color = colorsys.hsv_to_rgb(robot * 0.618 % 1, 0.85, 0.95)
    upright = np.rot90(tile, quarter_turns)  # a view in which the robot looks up
    upright[2:6, 2:6] = [round(channel * 255) for channel in color]
    upright[1:4, 3:5] = (255, 255, 255)
