"""Films of what was played, as bytes. Runs in a process of its own: drawing would hold up the rooms; knows no torch."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from actionparty.interfaces.drawing import Colour, Shot, fit_scale, scene_picture, subject_colours
from actionparty.interfaces.video import write_gif, write_mp4
from actionparty.types import NO_ACTION, Frame, Ints, SubjectStates, WorldSpec

WIDTH = {"mp4": 640, "gif": 400}
MOST_GIF = 300
"""Steps of a GIF; it has the last ones."""


@dataclass(frozen=True)
class Take:
    """One step to draw."""

    step: int
    spec: WorldSpec
    frame: Frame
    states: SubjectStates
    actions: Ints


def film(takes: Sequence[Take], identities: NDArray[np.uint8], kind: str, frames_per_second: float) -> bytes:
    """Return an ``mp4`` or a ``gif`` of ``takes``, with a ring and the action of every subject.

    Raises:
        MissingDependencyError: an MP4 without PyAV.
    """
    chosen = takes[-MOST_GIF:] if kind == "gif" else takes
    colours = subject_colours(identities)
    colours += [_spare(i) for i in range(len(colours), max(take.spec.subjects for take in chosen))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"film.{kind}"
        pictures = _pictures(chosen, colours, WIDTH[kind])
        if kind == "gif":
            write_gif(path, list(pictures), frames_per_second)
        else:
            write_mp4(path, pictures, frames_per_second)
        return path.read_bytes()


def _spare(i: int) -> Colour:
    return (255 - 37 * i % 200, 80 + 61 * i % 170, 120 + 97 * i % 130)


def _pictures(takes: Sequence[Take], colours: list[Colour], width: int) -> Iterator[Image.Image]:
    """Yield pictures of one size: a scene that gained or lost subjects is drawn with as many rows as the largest."""
    widest = max((t.spec for t in takes), key=lambda spec: spec.subjects)
    scale = fit_scale(widest, width)
    for take in takes:
        missing = widest.subjects - take.spec.subjects
        shot = Shot(take.frame, _padded(take.states, missing), _filled(take.actions, missing))
        yield scene_picture([("generated", shot)], widest, colours, scale, f"step {take.step}")


def _padded(states: SubjectStates, missing: int) -> SubjectStates:
    return SubjectStates(
        np.concatenate([states.position, np.zeros((missing, 2), np.float32)]),
        np.concatenate([states.facing, np.zeros(missing, np.int64)]),
        np.concatenate([states.alive, np.zeros(missing, np.bool_)]),
    )


def _filled(actions: Ints, missing: int) -> Ints:
    return np.concatenate([actions, np.full(missing, NO_ACTION, np.int64)])
