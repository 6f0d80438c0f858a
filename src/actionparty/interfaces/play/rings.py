"""The colours of rings: each subject's own, where no two subjects look alike. Knows pictures of subjects, no page."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from actionparty.interfaces.drawing import Colour, subject_colours

APART = 8
"""Levels of 255 by which two colours differ in some channel at least, or their subjects count as alike."""
INK: Colour = (16, 18, 26)
"""In which the page writes a subject's number on its colour."""
READABLE = 4.5
"""Contrast of that number at least (WCAG 2.2, level AA)."""


def ring_colours(identities: NDArray[np.uint8]) -> list[str]:
    """Return a colour (#rrggbb) after each picture of ``identities`` (N, 8, 8, 3); nothing where two are alike.

    A colour that several subjects share names nobody, and in the worlds where they do share one, a picture's colour is
    often that of what the subject carries: there the page draws all rings alike and only their numbers tell.
    """
    colours = subject_colours(identities)
    if any(max(abs(p - q) for p, q in zip(a, b, strict=True)) < APART for a, b in combinations(colours, 2)):
        return []
    return ["#{:02x}{:02x}{:02x}".format(*_lit(colour)) for colour in colours]


def contrast(a: Colour, b: Colour) -> float:
    """Return the contrast of two colours as WCAG defines it, 1 to 21."""
    dark, light = sorted((_luminance(a), _luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Colour) -> float:
    parts = [c / 255 for c in colour]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _lit(colour: Colour) -> Colour:
    """Return ``colour`` mixed with as little white as makes a number on it readable."""
    for share in np.linspace(0, 1, 51).tolist():
        red, green, blue = (round(c + (255 - c) * share) for c in colour)
        if contrast((red, green, blue), INK) >= READABLE:
            break
    return red, green, blue
