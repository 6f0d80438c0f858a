from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.evaluation import toy

from actionparty.interfaces.drawing import Shot, contact_sheet, fit_scale, panel, scene_picture, subject_colours
from actionparty.interfaces.glyphs import glyph
from actionparty.types import CELL, Episode, SubjectStates, WorldSpec

EPISODE: Episode = toy.record(3, 12)
COLOURS = subject_colours(EPISODE.identities())
SHOT = Shot(EPISODE.frames(5, 6)[0], EPISODE.states[5], EPISODE.actions[5])


def test_a_step_points_where_it_leads_in_the_frame() -> None:
    pictures = {f: np.asarray(glyph("forward", f, 24)).astype(int) for f in range(4)}
    for f in range(4):
        assert np.abs(np.rot90(pictures[f], -1) - pictures[(f + 1) % 4]).mean() < 8
    assert glyph("step_right", 0, 24).tobytes() == glyph("forward", 1, 24).tobytes()
    assert glyph("backward", 1, 24).tobytes() == glyph("step_left", 0, 24).tobytes()
    north = pictures[0]
    assert north[:12].any(1).sum() > 0
    widest = north.astype(bool).sum(1).argmax()
    assert widest < 13  # the head of the arrow is in the upper half


def test_turns_mirror_each_other_and_effects_differ_from_moves() -> None:
    left, right = (np.asarray(glyph(name, 0, 24)) for name in ("turn_left", "turn_right"))
    assert np.array_equal(left, right[:, ::-1])
    kinds = ("forward", "turn_left", "noop", "interact", "fire_zap")
    drawn = {np.asarray(glyph(name, 0, 24)).tobytes() for name in kinds}
    assert len(drawn) == len(kinds)


def test_pixels_away_from_subjects_are_enlarged_and_nothing_else() -> None:
    picture = np.asarray(panel(SHOT, toy.SPEC, COLOURS, 4))
    assert picture.shape == (9 * CELL * 4, 13 * CELL * 4, 3)
    plain = SHOT.frame.repeat(4, 0).repeat(4, 1)
    far = np.ones(toy.SPEC.grid, bool)
    for x, y in SHOT.states.cells:
        far[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = False
    mask = far.repeat(CELL * 4, 0).repeat(CELL * 4, 1)
    assert mask.any()
    assert np.array_equal(picture[mask], plain[mask])


def test_every_living_subject_has_a_ring_in_its_colour_and_no_other() -> None:
    for gone in (None, 2):
        alive = np.array([i != gone for i in range(toy.N)])
        shot = replace(SHOT, states=replace(SHOT.states, alive=alive))
        picture = np.asarray(panel(shot, toy.SPEC, COLOURS, 6, icons=False)).astype(int)
        for i, (x, y) in enumerate(SHOT.states.cells):
            left = x * 48 + 24 - round(0.68 * 48) + 1, y * 48 + 24
            near = picture[left[1] - 2 : left[1] + 3, left[0] - 2 : left[0] + 3].reshape(-1, 3)
            ringed = (np.abs(near - COLOURS[i]).max(1) < 12).any()
            assert ringed == alive[i]


def test_colours_follow_the_picture_but_can_be_seen() -> None:
    tile = np.zeros((1, 8, 8, 3), np.uint8)
    tile[0, 2:6, 2:6] = (0, 0, 110)
    (red, green, blue), *_ = subject_colours(tile)
    assert blue > red
    assert red == pytest.approx(green, abs=2)
    assert 0.3 * red + 0.59 * green + 0.11 * blue > 0.35 * 255
    assert subject_colours(np.zeros((1, 8, 8, 3), np.uint8))[0][0] > 60


def test_pages_hold_all_panels_and_have_even_sides() -> None:
    titles = [("generated", SHOT), ("real", SHOT)]
    page = scene_picture(titles, toy.SPEC, COLOURS, 3, "step 5")
    assert page.width % 2 == page.height % 2 == 0
    assert page.width > 2 * 13 * CELL * 3
    one = scene_picture(titles[:1], toy.SPEC, COLOURS, 3, "step 5")
    assert one.width < page.width
    small = contact_sheet([("generated", [SHOT] * 4)], [1, 2, 3, 4], toy.SPEC, COLOURS, 2)
    large = contact_sheet([("generated", [SHOT] * 6), ("real", [SHOT] * 6)], [1, 2, 3, 4, 5, 6], toy.SPEC, COLOURS, 2)
    assert small.width == large.width
    assert large.height > 4 * 9 * CELL * 2


def test_a_subject_at_the_border_is_drawn_without_falling_off() -> None:
    spec = WorldSpec("edge", 2, (3, 3), ("noop", "forward"))
    states = SubjectStates(np.array([[0, 0], [2, 2]], np.float32), np.zeros(2, np.int64), np.ones(2, bool))
    shot = Shot(np.zeros((24, 24, 3), np.uint8), states, np.array([1, -1]))
    colours = [(255, 0, 0), (0, 255, 0)]
    assert panel(shot, spec, colours, 4).size == (96, 96)
    assert scene_picture([("generated", shot)], spec, colours, 4, "").width >= 320
    assert fit_scale(spec, 1) == 2
    assert fit_scale(spec, 96) == 4
