"""Particles that chase each other (MPE2 simple tag) as a world: nothing in it is aligned to cells.

    actionparty record --env examples.particles:tag --steps 20000 --out datasets/particles

Needs `pip install 'actionparty[envs]'`. The picture is the environment's own, 700x700 pixels with an area of 50x50 for
one cell. Its camera zooms so that everybody is in view, so what stands still moves in the picture when others go far.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # its greeting would be in the way of --json

import numpy as np
from mpe2 import simple_tag_v3

from actionparty.worlds.pettingzoo import PettingZooWorld

PIXELS = 50  # of the environment's picture, for one cell
ACTIONS = ("noop", "step_left", "step_right", "backward", "forward")  # everybody faces north, so forward is up


def tag() -> PettingZooWorld:
    env = simple_tag_v3.parallel_env(max_cycles=200, render_mode="rgb_array")
    return PettingZooWorld(env, name="mpe2-tag", actions=ACTIONS, positions=positions, cell=PIXELS)


def positions(env: Any) -> dict[str, tuple[float, float]]:
    """Return where each particle is drawn, in cells; the formula is that of MPE2's own picture."""
    game = env.unwrapped
    places = np.array([entity.state.p_pos for entity in game.world.entities])
    scale = 0.45 / np.abs(places).max()
    drawn = {agent.name: (0.5 + agent.state.p_pos * (1, -1) * scale) * game.width for agent in game.world.agents}
    return {name: (x / PIXELS - 0.5, y / PIXELS - 0.5) for name, (x, y) in drawn.items()}
