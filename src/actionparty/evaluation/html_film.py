"""Frames of rollouts as strips: pictures inlined, and over them a ring and a tick where every subject was seen.

Rings are drawn as SVG over the untouched pixels, so what was generated stays recognisable. Knows records, no metric.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from PIL import Image

from actionparty.evaluation.html_markup import Markup, breakable, join, tag
from actionparty.evaluation.records import RolloutRecord, Shot
from actionparty.types import FACINGS, Bools, Frame, Ints

PALETTE = 256
"""Colours of an inlined picture; frames with more are brought down to the nearest so many."""
_FRAME_WIDTH = 200
"""Pixels of the page that a frame should be wide, about."""


def picture(frame: Frame, alt: str) -> Markup:
    """Return an image with ``frame`` (H, W, 3) inside it as a PNG, to be enlarged by the style sheet."""
    content = io.BytesIO()
    _with_palette(frame).save(content, "PNG", optimize=True)
    source = "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
    return tag("img", src=source, alt=alt, width=frame.shape[1], height=frame.shape[0], decoding="async")


def _with_palette(frame: Frame) -> Image.Image:
    """Return ``frame`` as indices into at most ``PALETTE`` colours: exactly where it has no more."""
    packed = frame.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, index = np.unique(packed, return_inverse=True)
    if len(colours) > PALETTE:
        return Image.fromarray(frame).quantize(PALETTE, dither=Image.Dither.NONE)
    out = Image.fromarray(index.reshape(packed.shape).astype(np.uint8)).convert("L")
    out.putpalette(np.stack([colours >> 16, colours >> 8 & 255, colours & 255], 1).astype(np.uint8).tobytes())
    return out


def went_wrong(record: RolloutRecord) -> Bools:
    """Return (R, T, N) which subjects did not obey, or were due and not seen exactly once."""
    return np.asarray((record.counted & ~record.obeyed) | (record.due & (record.count != 1)))


def symbols() -> Markup:
    """Return the hidden drawing that all frames refer to: a ring with a tick for each facing, and a square."""
    ring = [tag("circle", cx=0.5, cy=0.5, r=0.66, class_=c) for c in ("shade", "ring")]
    shapes = [tag("g", *ring, id="ring")]
    for k in range(len(FACINGS)):
        ticks = [tag("path", d="M.5 -.16V-.55", class_=c) for c in ("shade", "ring")]
        turned = tag("g", *ticks, transform=f"rotate({90 * k} .5 .5)")
        shapes.append(tag("g", *ring, turned, id=f"ring{k}"))
    squares = [tag("rect", x=-0.1, y=-0.1, width=1.2, height=1.2, class_=c) for c in ("shade", "want")]
    shapes.append(tag("g", *squares, id="want"))
    return tag("svg", tag("defs", *shapes), width=0, height=0, class_="symbols", aria_hidden="true")


def subject_styles(subjects: int) -> str:
    """Return the style rules that give each of ``subjects`` its colour: hues far apart, lightness in turns."""
    return "".join(
        f".s{i}{{color:hsl({round(28 + i * 137.508) % 360} 95% {(62, 74, 54)[i % 3]}%)}}" for i in range(subjects)
    )


def subject_legend(subjects: int) -> Markup:
    """Return the numbers of all subjects in their colours."""
    chips = (tag("span", f"{i}", class_=f"chip s{i}") for i in range(subjects))
    return tag("p", "Subjects ", *chips, class_="subjects")


def strip(record: RolloutRecord, shots: Sequence[Shot], label: str, marked: tuple[int, Ints] | None = None) -> Markup:
    """Return ``shots`` of one rollout in order, generated above simulator, in a box that scrolls sideways.

    Args:
        record: the rollouts of the world.
        shots: what to show.
        label: what the strip is, for those who can't see it.
        marked: the step that matters, and (N, 2) the cells where subjects should be seen then, -1 for none.
    """
    width = _width(shots[0].frame.shape[1])
    sides = tag("div", tag("span", "generated"), tag("span", "simulator"), class_="sides", aria_hidden="true")
    frames = [_moment(record, shot, marked) for shot in shots]
    height, wide = shots[0].frame.shape[:2]
    style = f"--w:{width}px;--ratio:{wide}/{height}"
    return tag("div", sides, *frames, class_="strip scroll", style=style, tabindex=0, role="region", aria_label=label)


def films(record: RolloutRecord) -> Markup:
    """Return the filmstrips that were kept of a world, the first open and the others to be opened."""
    shots = [s for s in record.shots if s.reason == "film"]
    strips = [_film(record, rollout, list(group)) for rollout, group in groupby(shots, lambda s: s.rollout)]
    if not strips:
        return tag("p", "No filmstrip was kept.", class_="faint")
    first, *others = strips
    return join(first, folded(count_of(len(others), "more rollout"), others))


def folded(title: str, contents: Sequence[Markup]) -> Markup | None:
    """Return what opens at a click on ``title``; None where there is nothing to open."""
    return tag("details", tag("summary", title), *contents) if contents else None


def count_of(count: int, what: str) -> str:
    """Return how many of something, in the plural where it is not one."""
    return f"{count} {what}{'s' * (count != 1)}"


def _film(record: RolloutRecord, rollout: int, shots: Sequence[Shot]) -> Markup:
    seed, row = record.seeds[rollout], record.rows[rollout]
    title = f"Rollout {rollout}: held-out seed {seed}, from row {row}"
    return join(tag("h4", title), strip(record, shots, f"{record.world.name}, {title}"))


def _width(pixels: int) -> float:
    """Return how wide a frame is shown: its pixels enlarged by a multiple of one half, at least as they are."""
    return pixels * max(1.0, round(2 * _FRAME_WIDTH / pixels) / 2)


def _moment(record: RolloutRecord, shot: Shot, marked: tuple[int, Ints] | None) -> Markup:
    """Return generated and real frame of one step, and its number."""
    wrong = went_wrong(record)[shot.rollout, shot.step - 1] if shot.step else None
    verdict, words = _verdict(wrong)
    here = marked is not None and marked[0] == shot.step
    wanted = marked[1] if marked is not None and here else None
    about = f"{record.world.name}, seed {record.seeds[shot.rollout]}, step {shot.step}"
    above = tag(
        "div",
        picture(shot.frame, f"generated: {about}; {words}"),
        _overlay(record, seen(record, shot), wrong, wanted),
        class_=f"frame {verdict}",
    )
    when = tag("strong", f"step {shot.step}") if here else f"step {shot.step}"
    return tag("figure", above, _truth(record, shot, about), tag("figcaption", when, " ", tag("small", words)))


def _verdict(wrong: Bools | None) -> tuple[str, str]:
    """Return the class of a generated frame, and what it says."""
    if wrong is None:
        return "start", "context"
    if not wrong.any():
        return "good", "all obeyed"
    who = np.flatnonzero(wrong).tolist()
    return "bad", ("all wrong" if len(who) == len(wrong) > 3 else f"wrong: {', '.join(map(str, who))}")


def _truth(record: RolloutRecord, shot: Shot, about: str) -> Markup:
    if shot.truth is None:
        return tag("div", tag("span", "recording over"), class_="frame none")
    return tag("div", picture(shot.truth, f"simulator: {about}"), _overlay(record, real(record, shot)), class_="frame")


def seen(record: RolloutRecord, shot: Shot) -> Ints:
    """Return (N, 3) detected x, y and facing in the generated frame, -1 where not seen exactly once or not told."""
    if not shot.step:
        return np.full((record.world.subjects, 3), -1)
    at = shot.rollout, shot.step - 1
    return np.concatenate([record.cell[at], record.facing[at][:, None]], 1)


def real(record: RolloutRecord, shot: Shot) -> Ints:
    """Return (N, 3) x, y and facing in the simulator, -1 where not alive or not known."""
    if not shot.step:
        return np.full((record.world.subjects, 3), -1)
    at = shot.rollout, shot.step - 1
    states = record.real[at]
    there = states.alive & record.known[at]
    return np.where(there[:, None], np.concatenate([states.cells, states.facing[:, None]], 1), -1)


def _overlay(record: RolloutRecord, places: Ints, wrong: Bools | None = None, wanted: Ints | None = None) -> Markup:
    """Return the rings over a frame; ``wrong`` (N,) subjects stand out, ``wanted`` (N, 2) cells get a square."""
    h, w = record.world.grid
    marks = []
    for i, (x, y, facing) in enumerate(places.tolist()):
        if wanted is not None and wanted[i][0] >= 0:
            marks.append(_use("want", (int(wanted[i][0]), int(wanted[i][1])), f"s{i}", f"subject {i} should be here"))
        if x >= 0:
            symbol = "ring" if facing < 0 else f"ring{facing}"
            faces = "" if facing < 0 else f", facing {FACINGS[facing]}"
            style = f"s{i} who" if wrong is not None and wrong[i] else f"s{i}"
            marks.append(_use(symbol, (x, y), style, f"subject {i} at ({x}, {y}){faces}"))
            marks.append(tag("text", f"{i}", x=x + 1.35, y=y + 0.05, class_=f"s{i}"))  # shown in an enlarged frame
    return tag("svg", *marks, viewBox=f"0 0 {w} {h}", class_="over", aria_hidden="true")


def _use(symbol: str, place: tuple[int, int], style: str, said: str) -> Markup:
    return tag("use", tag("title", said), href=f"#{symbol}", x=place[0], y=place[1], class_=style)


def heading(name: str, level: str = "h3") -> Markup:
    """Return a heading with the name of a world, which may be long."""
    return tag(level, breakable(name))
