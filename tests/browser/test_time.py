"""Looking back, branching off, and going back to what was left, by several people in real browsers."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pydantic", reason="needs the server: pip install 'actionparty[serve]'")
from tests.browser.serving import OpenPage, Watched, open_room

pytestmark = pytest.mark.slow
PHONE = {"viewport": {"width": 400, "height": 800}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
CROWDED = "collaborative_cooking__crowded"


def test_pause_scrub_and_fork(base: str, open_page: OpenPage) -> None:
    room = open_room(base, CROWDED)
    ada, grace = open_page("Ada"), open_page("Grace")
    for page in (ada, grace):
        page.enter(base, room)
    ada.take(0)
    ada.wait_for_step(12)
    ada.pause()
    branch, newest = ada.shown()
    seen = dict(ada.frames)
    for step in (newest - 2, 3, 7):
        ada.page.locator("#timeline").fill(str(step))
        for page in (ada, grace):
            page.wait_for("step => document.querySelector('#world').dataset.step === String(step)", step)
            np.testing.assert_array_equal(page.picture(), seen[branch, step].frame)
    ada.page.get_by_role("button", name="Play on from the step").click()
    grace.wait_for("() => Number(document.querySelector('#world').dataset.step) >= 10")
    ada.wait_for_step(10)
    ada.pause()
    other, step = ada.shown()
    assert other != branch
    assert ada.page.locator(".branches option:checked").inner_text() == "Branch 2, from step 7"
    assert int(ada.page.locator("#timeline").get_attribute("max") or 0) == step
    for page in (ada, grace):
        np.testing.assert_array_equal(page.frames[other, 8].frame, ada.frames[other, 8].frame)


def choose(who: Watched, branch: str) -> None:
    """Choose a branch from the list and wait until the screen shows its newest step."""
    who.page.get_by_role("combobox", name="Branch").select_option(label=branch)
    who.page.get_by_role("button", name="Play (P)").wait_for()
    who.wait_for("b => document.querySelector('.branches').selectedOptions[0].textContent === b", branch)
    who.page.wait_for_timeout(300)


def test_a_branch_that_was_left_is_gone_back_to(base: str, open_page: OpenPage) -> None:
    room = open_room(base, CROWDED)
    ada, grace = open_page("Ada"), open_page("Grace", **PHONE)
    for page in (ada, grace):
        page.enter(base, room)
        assert page.page.locator(".branches").is_hidden(), "there is one branch only"
    ada.take(0)
    ada.wait_for_step(8)
    ada.pause()
    first, newest = ada.shown()
    ada.page.locator("#timeline").fill("4")
    ada.wait_for("() => document.querySelector('#world').dataset.step === '4'")
    ada.page.get_by_role("button", name="Play on from the step").click()
    ada.page.keyboard.down("KeyE")
    ada.wait_for_step(newest + 3)
    ada.page.keyboard.up("KeyE")
    ada.pause()
    second, end = ada.shown()
    before = {key: decoded.frame for key, decoded in ada.frames.items()}
    assert (second, first) == (first + 1, second - 1)

    choose(ada, "Branch 1")
    for page in (ada, grace):
        assert page.shown() == (first, newest)
        np.testing.assert_array_equal(page.picture(), before[first, newest])
        assert int(page.page.locator("#timeline").get_attribute("max") or 0) == newest
    ada.page.locator("#timeline").fill("5")
    grace.wait_for("() => document.querySelector('#world').dataset.step === '5'")
    np.testing.assert_array_equal(grace.picture(), before[first, 5])

    ada.page.get_by_role("button", name="Play (P)").click()  # it is played on at its end
    grace.wait_for_step(newest + 3)
    ada.pause()
    longer = ada.shown()
    assert longer[0] == first
    choose(ada, "Branch 2, from step 4")
    assert grace.shown() == ada.shown() == (second, end)
    np.testing.assert_array_equal(grace.picture(), before[second, end])

    grace.page.get_by_role("combobox", name="Branch").select_option(label="Branch 1")
    grace.page.locator(".toast.error").wait_for()  # who has no seat does not steer, and sees what is played
    assert grace.page.locator(".branches option:checked").inner_text() == "Branch 2, from step 4"
    assert grace.page.evaluate("document.scrollingElement.scrollWidth <= 400"), "the list fits a phone"
    choose(ada, "Branch 1")
    assert ada.shown() == longer

    ada.page.get_by_role("button", name="Start again (R)").click()
    ada.page.locator(".branches").wait_for(state="hidden")
