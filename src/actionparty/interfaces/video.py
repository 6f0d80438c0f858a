"""Films as files: GIF by Pillow, MP4 by PyAV (optional). Knows pictures only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from actionparty.errors import InvalidInputError, MissingDependencyError

CODECS = ("libx264", "h264", "mpeg4")
"""Encoders in order of preference; a build of FFmpeg without H.264 still writes MPEG-4."""


def write_gif(path: Path, pictures: Sequence[Image.Image], frames_per_second: float) -> None:
    """Write an endless GIF; all pictures share one palette, so that nothing flickers.

    Raises:
        InvalidInputError: no picture, or pictures of different sizes.
    """
    _check(pictures)
    palette = _shared_palette(pictures)
    indexed = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    save_gif(path, indexed, frames_per_second)


def save_gif(path: Path, indexed: Sequence[Image.Image], frames_per_second: float) -> None:
    """Write an endless GIF of pictures in palette mode; they share a palette of at most 255 colours.

    The 256th stands for what has not changed, which makes films of standing scenery much smaller.

    Raises:
        InvalidInputError: no picture, or pictures of different sizes.
    """
    _check(indexed)
    duration = round(1000 / frames_per_second)
    indexed[0].save(path, save_all=True, append_images=indexed[1:], duration=duration, loop=0, optimize=True)


def _shared_palette(pictures: Sequence[Image.Image]) -> Image.Image:
    """Return a palette picture of the colours of a few frames: all of them where they are few."""
    chosen = [pictures[i] for i in np.unique(np.linspace(0, len(pictures) - 1, 8).astype(int))]
    width, height = chosen[0].size
    strip = Image.new("RGB", (width, height * len(chosen)))
    for k, picture in enumerate(chosen):
        strip.paste(picture, (0, k * height))
    return strip.quantize(255, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def write_mp4(path: Path, pictures: Iterable[Image.Image], frames_per_second: float) -> str:
    """Write an MP4 film and return the name of the encoder that was used; sides are cut to even numbers.

    Raises:
        MissingDependencyError: PyAV is not installed.
        InvalidInputError: no picture, or pictures of different sizes.
    """
    try:
        import av
        from av.video.stream import VideoStream
    except ImportError as error:
        raise MissingDependencyError("MP4 films need PyAV: pip install 'actionparty[video]'") from error
    waiting = iter(pictures)
    first = next(waiting, None)
    if first is None:
        raise InvalidInputError("a film needs at least one picture.")
    codec = next(name for name in CODECS if name in av.codecs_available and _can_encode(av, name))
    with av.open(str(path), mode="w") as container:
        stream = container.add_stream(codec, rate=Fraction(frames_per_second).limit_denominator(1000))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = (side - side % 2 for side in first.size)
        stream.pix_fmt = "yuv420p"
        if "264" in codec:
            stream.options = {"crf": "17", "preset": "medium", "rc-lookahead": "10"}
        else:
            stream.bit_rate = 8_000_000
        for picture in chain([first], waiting):
            _check([first, picture])
            pixels = np.asarray(picture.convert("RGB"))[: stream.height, : stream.width]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())
    return codec


def _can_encode(av: object, name: str) -> bool:
    try:
        av.Codec(name, "w")  # type: ignore[attr-defined]
    except ValueError:
        return False
    return True


def _check(pictures: Sequence[Image.Image]) -> None:
    if not pictures:
        raise InvalidInputError("a film needs at least one picture.")
    if any(picture.size != pictures[0].size for picture in pictures):
        raise InvalidInputError("all pictures of a film must have the same size.")
