"""Particles that chase each other (MPE2 simple tag) as a world: nothing in it is aligned to cells.

    actionparty record --env examples.particles:tag --steps 30000 --out datasets/particles

Needs `pip install 'actionparty[envs]'`. The picture is the environment's own, 700x700 pixels with an area of 50x50 for
one cell. Its camera zooms out until everybody is in view, and its plane has no end: who runs away long enough makes all
others too small to see. So a fence is put around the plane, and the camera stands still.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # its greeting would be in the way of --json

import numpy as np
from mpe2 import simple_tag_v3
from mpe2.simple_tag.simple_tag import ExtendedLandmark

from actionparty.worlds.pettingzoo import PettingZooWorld

PIXELS = 50  # of the environment's picture, for one cell
ACTIONS = ("noop", "step_left", "step_right", "backward", "forward")  # everybody faces north, so forward is up


def tag() -> PettingZooWorld:
    env = simple_tag_v3.parallel_env(max_cycles=200, render_mode="rgb_array")
    fence(env.unwrapped.world)
    return PettingZooWorld(env, name="mpe2-tag", actions=ACTIONS, positions=positions, cell=PIXELS)


def positions(env: Any) -> dict[str, tuple[float, float]]:
    """Return where each particle is drawn, in cells; the formula is that of MPE2's own picture."""
    game = env.unwrapped
    places = np.array([entity.state.p_pos for entity in game.world.entities])
    scale = 0.45 / np.abs(places).max()
    drawn = {agent.name: (0.5 + agent.state.p_pos * (1, -1) * scale) * game.width for agent in game.world.agents}
    return {name: (x / PIXELS - 0.5, y / PIXELS - 0.5) for name, (x, y) in drawn.items()}


def fence(world: Any) -> None:
    """Keep all particles within 1 of the middle, and so the camera: the post in the corner has no size to be seen."""
    post = ExtendedLandmark()
    post.boundary, post.collide, post.size = True, False, 0.0  # a boundary stays where it is when an episode begins
    post.state.p_pos, post.state.p_vel = np.ones(2), np.zeros(2)
    world.landmarks.append(post)
    move = world.step

    def step() -> None:
        move()
        for i, state in enumerate(agent.state for agent in world.agents):
            reach = 1 - 0.01 * i  # two in the very same corner would push each other by 0 / 0
            state.p_vel[np.abs(state.p_pos) > reach] = 0
            state.p_pos = state.p_pos.clip(-reach, reach)

    world.step = step
