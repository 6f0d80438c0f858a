"""Small icons for actions, drawn from polygons at four times their size. Knows action names and facings, no worlds."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]
"""(P, 2) x and y in a square from -1 to 1, y downwards"""
_FINE = 4
_ARROW = np.array([(0, -0.85), (0.72, -0.05), (0.3, -0.05), (0.3, 0.8), (-0.3, 0.8), (-0.3, -0.05), (-0.72, -0.05)])
_BOLT = np.array([(0.25, -0.95), (-0.6, 0.15), (-0.08, 0.15), (-0.3, 0.95), (0.6, -0.25), (0.08, -0.25)])
_TURNS = {"forward": 0, "step_right": 1, "backward": 2, "step_left": 3}
"""Quarter turns to the right from the facing to where the action leads."""


def glyph(action: str, facing: int, size: int) -> Image.Image:
    """Return a mask (mode L, ``size`` pixels square) for ``action`` of a subject that looks towards ``facing``.

    Steps are arrows in the direction of the frame, turns bent arrows, shots a bolt, anything else that acts a star,
    and doing nothing a dot.
    """
    return _glyph(*_shape(action, facing), size)


def _shape(action: str, facing: int) -> tuple[str, int]:
    if action in _TURNS:
        return "arrow", (facing + _TURNS[action]) % 4
    if action in ("turn_left", "turn_right"):
        return action, 0
    if action == "noop":
        return "dot", 0
    return ("bolt" if action.startswith("fire") else "star"), 0


@cache
def _glyph(shape: str, quarter: int, size: int) -> Image.Image:
    mask = Image.new("L", (size * _FINE, size * _FINE))
    pen = ImageDraw.Draw(mask)
    if shape == "dot":
        pen.ellipse(_box(0.28, size), fill=255)
    elif shape.startswith("turn"):
        _bent_arrow(pen, size)
    else:
        outline = {"arrow": _ARROW, "bolt": _BOLT, "star": _star()}[shape]
        pen.polygon(_pixels(_rotated(outline, quarter), size), fill=255)
    if shape == "turn_left":
        mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return mask.resize((size, size), Image.Resampling.LANCZOS)


def _bent_arrow(pen: ImageDraw.ImageDraw, size: int) -> None:
    """Draw most of a circle, clockwise from the lower left, with a head at its right end."""
    width = max(2, round(0.16 * size * _FINE))
    pen.arc(_box(0.68, size), 150, 350, fill=255, width=width)
    pen.polygon(_pixels(np.array([(0.12, -0.05), (1.0, -0.05), (0.58, 0.62)]), size), fill=255)


def _star() -> Points:
    angles = np.arange(10) * np.pi / 5
    radius = np.where(np.arange(10) % 2, 0.42, 0.98)
    return np.stack([radius * np.sin(angles), -radius * np.cos(angles)], 1)


def _rotated(points: Points, quarter: int) -> Points:
    for _ in range(quarter):
        points = np.stack([-points[:, 1], points[:, 0]], 1)
    return points


def _pixels(points: Points, size: int) -> list[tuple[float, float]]:
    scaled = (points * 0.94 + 1) / 2 * size * _FINE
    return [(float(x), float(y)) for x, y in scaled]


def _box(radius: float, size: int) -> tuple[float, float, float, float]:
    low, high = (1 - radius) / 2 * size * _FINE, (1 + radius) / 2 * size * _FINE
    return low, low, high, high
