from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from actionparty.errors import InvalidInputError, MissingDependencyError
from actionparty.interfaces.video import write_gif, write_mp4


def pictures(count: int, size: tuple[int, int] = (64, 48)) -> list[Image.Image]:
    """Bands of few colours that move by 4 pixels from picture to picture."""
    row = np.repeat(np.array([(200, 30, 30), (30, 200, 30), (30, 30, 200), (240, 240, 240)], np.uint8), 16, 0)
    wide = np.broadcast_to(row, (size[1], 64, 3))[:, : size[0]]
    return [Image.fromarray(np.ascontiguousarray(np.roll(wide, 4 * k, 1))) for k in range(count)]


def test_a_gif_gives_back_its_pictures_in_order(tmp_path: Path) -> None:
    made = pictures(9)
    write_gif(tmp_path / "film.gif", made, 8)
    with Image.open(tmp_path / "film.gif") as film:
        assert film.info["loop"] == 0
        assert film.info["duration"] == pytest.approx(125, abs=10)
        shown = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(film)]
    assert len(shown) == 9
    for frame, picture in zip(shown, made, strict=True):
        assert np.abs(frame - np.asarray(picture)).max() <= 4


def test_an_mp4_gives_back_its_pictures_in_order_with_even_sides(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    made = pictures(9, (63, 47))
    write_mp4(tmp_path / "film.mp4", iter(made), 6)
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert float(film.streams.video[0].average_rate) == 6
        shown = [frame.to_ndarray(format="rgb24").astype(int) for frame in film.decode(video=0)]
    assert len(shown) == 9
    for k, frame in enumerate(shown):
        errors = [np.abs(frame - np.asarray(picture)[:46, :62]).mean() for picture in made]
        assert np.argmin(errors) == k
        assert errors[k] < 20


def test_a_film_needs_pictures_of_one_size(tmp_path: Path) -> None:
    pytest.importorskip("av")
    mixed = [*pictures(1), *pictures(1, (32, 48))]
    for bad in ([], mixed):
        with pytest.raises(InvalidInputError):
            write_gif(tmp_path / "film.gif", bad, 6)
        with pytest.raises(InvalidInputError):
            write_mp4(tmp_path / "film.mp4", bad, 6)


def test_without_pyav_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"actionparty\[video\]"):
        write_mp4(tmp_path / "film.mp4", pictures(1), 6)
    assert not list(tmp_path.iterdir())
