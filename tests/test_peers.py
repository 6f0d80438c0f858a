"""The comparison with other libraries: its arithmetic in closed form, and all of it once where they are installed."""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import peers
from benchmarks.contenders import DREAM, Ours, Picture, Simulator, make_peer, parameters_of
from benchmarks.peers import SIMULATOR, cases, checked, interleaved, main, measurement, parser, ratios
from benchmarks.peers_report import busy, markdown

from actionparty.errors import InvalidInputError, MissingDependencyError
from actionparty.worlds.views import view_of

CROWDED = "collaborative_cooking__crowded"


class Clock:
    """Time that passes only where somebody works."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now


class Worker:
    """Takes the seconds it is told for each frame, and some more to prepare, which must not count."""

    parameters = 0

    def __init__(self, clock: Clock, name: str, seconds: list[float]) -> None:
        self._clock, self._name, self._seconds = clock, name, itertools.cycle(seconds)

    def prepare(self) -> None:
        self._clock.now += 100.0

    def frame(self) -> Picture:
        self._clock.now += next(self._seconds)
        self._clock.order.append(self._name)
        return np.zeros((1, 8, 8, 3), np.uint8)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("time.perf_counter", made)
    return made


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    peers.warmed_peer.cache_clear()


def row(**values: Any) -> dict[str, Any]:
    alike = {
        "world": CROWDED,
        "subjects": 9,
        "cells": 117,
        "weights": "all",
        "parameters": 2_788_574,
        "threads": 1,
        "engine": "onnx",
    }
    theirs = {"peer": "simulusion", "size": "default", "peer_parameters": 5_547_822, "unit": "player-view"}
    return (
        alike
        | theirs
        | {"ours_ms": 2.0, "theirs_ms": 200.0, "ratio": 104.25, "lowest": 96.04, "highest": 120.0}
        | values
    )


def test_a_ratio_is_that_of_a_pair() -> None:
    assert ratios([(1.0, 4.0), (2.0, 4.0), (4.0, 40.0)]) == (4.0, 2.0, 10.0)
    assert ratios([(1.0, 2.0), (1.0, 4.0)]) == (3.0, 2.0, 4.0)
    slowed = [(1.0, 3.0), (10.0, 30.0), (2.0, 6.0), (7.0, 21.0)]
    assert ratios(slowed) == (3.0, 3.0, 3.0), "what slows both sides of a pair changes no ratio"


def test_a_measurement_is_the_mean_of_the_frames_it_takes_without_what_is_before_them(clock: Clock) -> None:
    assert measurement(Worker(clock, "a", [0.125]), 0.5) == 0.125
    assert len(clock.order) == 4
    assert measurement(Worker(clock, "b", [1.0, 3.0]), 2.0) == 2.0
    assert clock.order[4:] == ["b", "b"]
    assert measurement(Worker(clock, "c", [9.0]), 0.0) == 9.0
    assert clock.order[6:] == ["c"], "one frame at least"


def test_both_are_measured_in_turn(clock: Clock) -> None:
    pairs = interleaved(Worker(clock, "a", [0.5, 2.0]), Worker(clock, "b", [4.0]), 4, 0.25)
    assert clock.order == ["a", "b"] * 4
    assert pairs == [(0.5, 4.0), (2.0, 4.0), (0.5, 4.0), (2.0, 4.0)]
    assert ratios(pairs) == (5.0, 2.0, 8.0)


def test_a_view_is_a_share_of_the_frame_that_all_views_are_cut_from(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "warmed", lambda _: Worker(clock, "ours", [0.18]))
    monkeypatch.setattr(peers, "warmed_peer", lambda *_: Worker(clock, "theirs", [1.8]))
    options = parser().parse_args(["--pairs", "3", "--seconds", "0", "--engine", "torch"])
    whole, view = (peers.compare("starter", CROWDED, "simulusion", "default", 1, u, options) for u in peers.UNITS)
    assert (whole.ours_ms, whole.theirs_ms, whole.ratio) == (180, 1800, 10)
    assert (view.ours_ms, view.theirs_ms, view.ratio) == (20, 200, 10), "nine subjects, nine players' pictures"
    assert (view.subjects, view.cells, view.pairs, view.engine) == (9, 117, 3, "torch")


def test_every_case_is_measured_where_the_weights_know_the_world() -> None:
    words = ["--world", CROWDED, "clean_up", "--weights", "all", "starter", "--threads", "1"]
    found = list(cases(checked(parser().parse_args(words))))
    assert len(found) == len(set(found)) == 3 * (2 * 2 * 2 + 1)
    assert {(weights, world) for weights, world, *_ in found} == {
        ("all", CROWDED),
        ("starter", CROWDED),
        ("all", "clean_up"),
    }


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--pairs", "0"], "--pairs must be at least 1"),
        (["--threads", "1000"], "--threads 1000: this process may use 1 to"),
        (["--threads", "0"], "--threads 0"),
        (["--world", "clean_up", "--weights", "starter"], "no scenes of clean_up come with starter"),
        (["--weights", "nobody"], "nobody"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_exit_code_two(
    words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert problem in said
    assert said.count("\n") == 1


def test_the_options_hold_their_bounds() -> None:
    with pytest.raises(InvalidInputError, match="pairs"):
        checked(parser().parse_args(["--pairs", "-1"]))
    assert checked(parser().parse_args([])).threads[0] == 1


def test_the_page_holds_every_row_and_says_how_busy_the_machine_was() -> None:
    about = {"cpu": "A CPU", "cores": 2, "system": "Linux", "torch": "2.13.0", "load_before": 1.9, "date": "2026-11-23"}
    real = {"world": "clean_up", "processes": 2, "steps_per_second": 1234.5}
    found = {
        "machine": about,
        "command": "python -m benchmarks.peers",
        "seconds": 0.25,
        "versions": {"simulusion": "1.1"},
    }
    rows = [row(pairs=10), row(pairs=10, peer=SIMULATOR, size="", peer_parameters=0, unit="world frame", ratio=0.015)]
    lists = {"rows": rows, "simulator": [real], "left_out": {"dreamer4": "can't be imported"}}
    page = markdown(found | lists)
    assert "| simulusion | default | 5.55 M | 1 | player-view | 2.00 | 200.00 | **104** | 96.0 - 120 |" in page
    assert "| Melting Pot | - | - | 1 | world frame | 2.00 | 200.00 | **0.015** | 96.0 - 120 |" in page
    assert f"## `{CROWDED}`, weights `all` (9 subjects, 117 cells, 2.79 M parameters, run by onnx)" in page
    assert "| `clean_up` | 2 | 1,234 |" in page
    assert "- dreamer4: can't be imported" in page
    assert "2026-11-23: A CPU, 2 cores, Linux, PyTorch 2.13.0, simulusion 1.1" in page
    assert "busy** (load 1.9" in page
    assert "idle" in busy(0.2)


def test_our_views_are_those_of_all_subjects_and_our_frame_is_the_world() -> None:
    whole, views = (Ours("starter", CROWDED, views=views) for views in (False, True))
    for contender in (whole, views):
        contender.prepare()
    h, w = view_of(CROWDED).size
    assert whole.frame().shape == (1, 9 * 8, 13 * 8, 3)
    assert views.frame().shape == (9, h * 8, w * 8, 3)
    assert whole.parameters == parameters_of(whole._rollout.network)


@pytest.mark.meltingpot
def test_the_simulator_goes_on_after_an_episode() -> None:
    world = Simulator("collaborative_cooking__cramped")
    for _ in range(3):
        world.prepare()
        assert world.frame().shape == (1, 40, 72, 3)
    world._ended = True
    world.prepare()
    assert world.frame().shape == (1, 40, 72, 3)
    world.close()


def test_a_peer_that_is_not_installed_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str, *_: Any) -> None:
        raise MissingDependencyError(f"{name} is not here")

    monkeypatch.setattr(peers, "make_peer", absent)
    main(["--world", CROWDED, "--weights", "starter", "--peer", "simulusion", "--threads", "1", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["left_out"] == {"simulusion": "simulusion is not here"}
    assert found["rows"] == found["simulator"] == []


needs_peers = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("simulusion", "dreamer4", "torchvision")),
    reason="needs the peers: install the extra `bench`",
)
quiet = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # dreamer4 scripts functions on import


@needs_peers
@quiet
@pytest.mark.parametrize("name", ["simulusion", "dreamer4"])
def test_a_peer_makes_a_picture_for_every_player_and_matches_our_parameters(name: str) -> None:
    peer = make_peer(name, "matched", 8, 2)
    for _ in range(DREAM + 1):
        peer.prepare()
        pictures = peer.frame()
        assert pictures.shape == (2, 64, 64, 3)
        assert pictures.dtype == np.uint8
    assert peer.parameters == pytest.approx(2.79e6, rel=0.05)


@needs_peers
@quiet
@pytest.mark.slow
def test_the_comparison_runs_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--world", "collaborative_cooking__circuit", "--weights", "starter", "--threads", "1", "--seconds", "0"]
    main([*words, "--pairs", "2", "--peer", "simulusion", "--json", "--write", str(tmp_path / "new" / "RESULTS.md")])
    found = json.loads(capsys.readouterr().out)
    assert [(r["size"], r["unit"]) for r in found["rows"]] == list(
        itertools.product(("default", "matched"), peers.UNITS)
    )
    for measured in found["rows"]:
        assert measured["pairs"] == 2
        assert 0 < measured["lowest"] <= measured["ratio"] <= measured["highest"]
        assert measured["ours_ms"] > 0
        assert measured["theirs_ms"] > 0
    assert found["versions"] == {"simulusion": "1.1.0"}
    assert found["left_out"] == {}
    assert (tmp_path / "new" / "RESULTS.md").read_text() == markdown(found)
