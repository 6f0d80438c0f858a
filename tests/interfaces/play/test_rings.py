"""The colours of rings never contradict the pictures of subjects, and numbers on them can be read."""

from __future__ import annotations

import colorsys
from itertools import combinations

import numpy as np
import pytest
from tests.interfaces.play.stage import SPEC, Stage

from actionparty.checkpoints import find_checkpoint
from actionparty.interfaces.drawing import Colour, subject_colours
from actionparty.interfaces.play.rings import APART, INK, READABLE, contrast, ring_colours
from actionparty.rollout.scenes import load_scene, scene_paths, scene_worlds


def rgb(text: str) -> Colour:
    assert text[0] == "#"
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def painted(*colours: tuple[int, int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return pictures of subjects of one colour each, on black."""
    pictures = np.zeros((len(colours), 8, 8, 3), np.uint8)
    pictures[:, 1:7, 2:6] = np.array(colours, np.uint8)[:, None, None]
    return pictures


def hue(colour: Colour) -> float:
    return colorsys.rgb_to_hls(*(c / 255 for c in colour))[0]


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((118, 118, 118), (255, 255, 255)) == pytest.approx(4.54, abs=0.01)  # the known lightest AA grey
    assert contrast((9, 9, 9), (9, 9, 9)) == 1


def test_a_ring_is_of_its_subjects_colour() -> None:
    red, blue, dark = map(rgb, ring_colours(painted((200, 30, 30), (0, 0, 90), (20, 60, 20))))
    assert red[0] > 2 * max(red[1:])
    assert blue[2] > 1.5 * max(blue[:2])
    assert dark[1] > 1.5 * max(dark[0], dark[2])


def test_subjects_that_look_alike_get_no_colours() -> None:
    assert ring_colours(painted((200, 30, 30), (0, 90, 0), (200, 30, 30))) == []
    assert len(ring_colours(painted((200, 30, 30)))) == 1
    assert ring_colours(np.zeros((0, 8, 8, 3), np.uint8)) == []


@pytest.mark.parametrize("checkpoint", ["starter", "all"])
def test_no_shipped_scene_has_a_ring_of_another_hue_than_its_subject(checkpoint: str) -> None:
    folder = find_checkpoint(checkpoint)
    coloured = []
    for world in scene_worlds(folder):
        identities = load_scene(scene_paths(folder, world)[0]).identities
        rings = [rgb(text) for text in ring_colours(identities)]
        seen = subject_colours(identities)
        if not rings:
            apart = (max(abs(p - q) for p, q in zip(a, b, strict=True)) for a, b in combinations(seen, 2))
            assert min(apart) < APART
            continue
        coloured.append(world)
        assert len(rings) == len(identities)
        for ring, own in zip(rings, seen, strict=True):
            assert contrast(ring, INK) >= READABLE
            away = abs(hue(ring) - hue(own))
            assert min(away, 1 - away) < 0.02, (world, ring, own)
    assert {"coins", "collaborative_cooking__crowded", "commons_harvest__open"} <= set(coloured)


def test_everybody_is_told_the_colours_once_there_are_subjects(stage: Stage) -> None:
    (early,) = stage.join(1)
    assert early.fields["world"]["colours"] == []
    stage.run(1)
    welcome = stage.join(2)[0]
    told = welcome.fields["world"]["colours"]
    assert told == ring_colours(stage.menu.scene(SPEC.name, 0).identities)
    assert len(told) == SPEC.subjects


def test_a_subject_that_is_taken_out_takes_its_colour_along(stage: Stage) -> None:
    stage.join(1)
    stage.run(1)
    before = stage.room.timeline.colours()
    stage.do(1, type="pause")
    stage.do(1, type="edit", ops=[{"op": "remove", "subject": 0}])
    stage.settle()
    assert stage.room.timeline.colours() == before[1:]
