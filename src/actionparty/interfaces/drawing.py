"""Pictures for people: enlarged frames with a ring and an action icon for every subject, side by side and in sheets.

Everything here is drawn over pixels that are enlarged by whole factors, so what was generated stays recognisable.
Knows frames, states and action names; no model, no simulator and no file.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from actionparty.interfaces.glyphs import glyph
from actionparty.types import CELL, Frame, Ints, SubjectStates, WorldSpec

Colour = tuple[int, int, int]
PAPER: Colour = (17, 19, 26)
INK: Colour = (226, 229, 238)
FAINT: Colour = (128, 134, 150)
_SHADE: Colour = (0, 0, 0)
_GAP, _PAD, _FINE = 14, 18, 3
SHEET_COLUMNS = 4


@dataclass(frozen=True)
class Shot:
    """One moment of a world: its frame, where the subjects are, and the actions (N,) that led here (-1: none)."""

    frame: Frame
    states: SubjectStates
    actions: Ints


def subject_colours(identities: NDArray[np.uint8]) -> list[Colour]:
    """Return a bright colour for each subject, after the most colourful part of its picture (N, 8, 8, 3)."""
    return [_vivid(tile.reshape(-1, 3)) for tile in identities]


def _vivid(pixels: NDArray[np.uint8]) -> Colour:
    """Return the commonest saturated colour, lit up: it must be seen on any floor."""
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    spread = colours.max(1).astype(int) - colours.min(1)
    best = colours[(counts * (spread + 8)).argmax()]
    hue, lightness, saturation = colorsys.rgb_to_hls(*(float(c) / 255 for c in best))
    lightness = max(lightness, 0.5)
    while _luminance(lit := colorsys.hls_to_rgb(hue, lightness, saturation)) < 0.36:
        lightness += 0.02
    red, green, blue = (round(255 * part) for part in lit)
    return red, green, blue


def _luminance(rgb: tuple[float, float, float]) -> float:
    return 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2]


def fit_scale(spec: WorldSpec, width: int) -> int:
    """Return the whole factor that enlarges frames of ``spec`` to about ``width`` pixels, at least 2."""
    return max(2, round(width / (spec.grid[1] * CELL)))


def panel(
    shot: Shot, spec: WorldSpec, colours: Sequence[Colour], scale: float, icons: bool = True, reach: float = 0.68
) -> Image.Image:
    """Return the frame enlarged by ``scale``, with a ring and (if ``icons``) an action icon for each living subject.

    ``scale`` makes cells whole pixels: it is a multiple of 1/8. A ring is ``reach`` cells from its subject's middle.
    """
    h, w = spec.grid
    cell = round(CELL * scale)
    picture = Image.fromarray(shot.frame).resize((w * cell, h * cell), Image.Resampling.NEAREST)
    living = np.flatnonzero(shot.states.alive)
    for i in living.tolist():
        ring = _ring(cell, colours[i], reach)
        x, y = np.rint((shot.states.position[i] + 0.5) * cell - ring.width / 2).astype(int)
        picture.paste(ring, (int(x), int(y)), ring)
    for i in living[shot.actions[living] >= 0].tolist() if icons else ():
        _badge(picture, shot, spec, i, cell, colours[i])
    return picture


@cache
def _ring(cell: int, colour: Colour, reach: float) -> Image.Image:
    """Return a ring for a cell of so many pixels, with a dark edge so that it shows on any floor."""
    side, width = round((2 * reach + 0.24) * cell), max(1.6, cell / 17) * _FINE
    big = Image.new("RGBA", (side * _FINE, side * _FINE), (*colour, 0))
    pen = ImageDraw.Draw(big)
    middle, radius = side * _FINE / 2, reach * cell * _FINE
    for r, thick, fill in ((radius + 0.5 * width, 2 * width, (*_SHADE, 150)), (radius, width, (*colour, 255))):
        pen.ellipse((middle - r, middle - r, middle + r, middle + r), outline=fill, width=round(thick))
    return big.resize((side, side), Image.Resampling.LANCZOS)


def _badge(picture: Image.Image, shot: Shot, spec: WorldSpec, i: int, cell: int, colour: Colour) -> None:
    """Draw the icon of subject i's action on a dark disc, at the upper right of its ring."""
    size = max(9, round(0.46 * cell))
    x, y = shot.states.position[i]
    at = np.rint([(x + 1.02) * cell - size / 2, (y - 0.02) * cell - size / 2]).astype(int)
    left, top = np.clip(at, 0, (picture.width - size, picture.height - size)).tolist()
    picture.paste(PAPER, (left, top), _disc(size))
    inner = max(7, round(0.72 * size))
    inset = (size - inner) // 2
    mask = glyph(spec.actions[shot.actions[i]], int(shot.states.facing[i]), inner)
    picture.paste(colour, (left + inset, top + inset), mask)


@cache
def _disc(size: int) -> Image.Image:
    mask = Image.new("L", (size * _FINE, size * _FINE))
    ImageDraw.Draw(mask).ellipse((0, 0, size * _FINE - 1, size * _FINE - 1), fill=235)
    return mask.resize((size, size), Image.Resampling.LANCZOS)


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font at ``size`` pixels."""
    return ImageFont.load_default(size)


def fit_font(text: str, size: int, width: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the largest font of at most ``size`` pixels in which ``text`` is no wider than ``width``; at least 6."""
    return next((font(s) for s in range(size, 6, -1) if font(s).getlength(text) <= width), font(6))


def scene_picture(
    shots: Sequence[tuple[str, Shot]], spec: WorldSpec, colours: Sequence[Colour], scale: int, note: str
) -> Image.Image:
    """Return titled panels side by side, with the world above and what every subject does below.

    ``note`` stands at the upper right, e.g. the step. The actions below are those of the first shot.
    """
    panels = [(title, panel(shot, spec, colours, scale)) for title, shot in shots]
    width = max(sum(p.width for _, p in panels) + _GAP * (len(panels) - 1), 320) + 2 * _PAD
    text = 13 if width < 700 else 17
    head = round(2.3 * text)
    below = _PAD + head + round(1.6 * text) + panels[0][1].height + _PAD
    rows, chip = _chip_rows(spec, width, text)
    page = Image.new("RGB", (_even(width), _even(below + rows * round(1.9 * text) + _PAD // 2)), PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((_PAD, _PAD), f"{spec.name}   {spec.subjects} subjects", INK, font(text + 3))
    pen.text((width - _PAD, _PAD), note, FAINT, font(text + 3), anchor="ra")
    left = _PAD
    for title, picture in panels:
        pen.text((left, _PAD + head), title, FAINT, font(text))
        page.paste(picture, (left, _PAD + head + round(1.6 * text)))
        left += picture.width + _GAP
    _chips(page, shots[0][1], spec, colours, (below, chip, text))
    return page


def _even(length: int) -> int:
    """Round up: video encoders want even sides."""
    return length + length % 2


def _chip_rows(spec: WorldSpec, width: int, text: int) -> tuple[int, int]:
    """Return how many rows of chips there are, and how wide one chip is."""
    longest = max(font(text).getlength(name) for name in spec.actions)
    chip = round(longest + 4.6 * text)
    per_row = max(1, min(spec.subjects, (width - 2 * _PAD) // chip))
    rows = -(-spec.subjects // per_row)
    return rows, (width - 2 * _PAD) // -(-spec.subjects // rows)


def _chips(
    page: Image.Image, shot: Shot, spec: WorldSpec, colours: Sequence[Colour], place: tuple[int, int, int]
) -> None:
    """Write for every subject its number, the icon and the name of its action; faint while it is not alive."""
    top, chip, text = place
    pen = ImageDraw.Draw(page)
    per_row = (page.width - 2 * _PAD) // chip
    for i in range(spec.subjects):
        x, y = _PAD + i % per_row * chip, top + i // per_row * round(1.9 * text)
        alive = bool(shot.states.alive[i])
        colour = colours[i] if alive else FAINT
        disc = round(1.45 * text)
        page.paste(colour, (x, y), _disc(disc))
        pen.text((x + disc / 2, y + disc / 2), str(i), PAPER, font(text - 2), anchor="mm")
        name = spec.actions[shot.actions[i]] if shot.actions[i] >= 0 else "noop"
        if alive:
            page.paste(colour, (x + disc + 6, y + (disc - text) // 2), glyph(name, int(shot.states.facing[i]), text))
        words = name if alive else "out"
        pen.text((x + disc + text + 12, y + disc / 2), words, INK if alive else FAINT, font(text - 1), anchor="lm")


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[Shot]]],
    steps: Sequence[int],
    spec: WorldSpec,
    colours: Sequence[Colour],
    scale: int,
) -> Image.Image:
    """Return a sheet with one titled row of shots per way the world was made, and one column per step.

    Columns past ``SHEET_COLUMNS`` go on below.
    """
    text, side, band = 15, 100, min(SHEET_COLUMNS, len(steps))
    pictures = [[panel(shot, spec, colours, scale) for shot in shots] for _, shots in rows]
    wide, high = pictures[0][0].size
    head, block = _PAD + 3 * text, 2 * text + len(rows) * (high + _GAP)
    bands = -(-len(steps) // band)
    page = Image.new("RGB", (side + band * (wide + _GAP) + _PAD - _GAP, head + bands * (block + _GAP)), PAPER)
    pen = ImageDraw.Draw(page)
    subjects = f"{spec.subjects} subject" + "s" * (spec.subjects > 1)
    pen.text((_PAD, _PAD), f"{spec.name}   {subjects}", INK, font(text + 5))
    for k, step in enumerate(steps):
        left, top = side + k % band * (wide + _GAP), head + k // band * (block + _GAP)
        pen.text((left, top + 0.2 * text), f"step {step}", FAINT, font(text))
        for r, line in enumerate(pictures):
            page.paste(line[k], (left, top + 2 * text + r * (high + _GAP)))
    for b, (r, (title, _)) in product(range(bands), enumerate(rows)):
        top = head + b * (block + _GAP) + 2 * text + r * (high + _GAP)
        pen.multiline_text((_PAD, top), title.replace(" ", "\n"), INK, font(text), spacing=5)
    return page
