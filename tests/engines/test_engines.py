"""Every engine that is installed here answers what PyTorch answers, and keeps what a rollout promises."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.engines.samples import EXACT, engine, engines, network, play_on, same, started

from actionparty.engines.check import differences
from actionparty.engines.engine import TorchEngine
from actionparty.engines.graph_engine import GraphEngine
from actionparty.engines.onnx_runtime import OnnxGraph
from actionparty.performance.parts import PARTS, parts_timed
from actionparty.rollout.rollout import BatchRollout

CALLS = {"observe", "remember", "update", "resolve", "render", "heads"}
STEPS = 8


@pytest.mark.parametrize("name", engines(EXACT))
@pytest.mark.parametrize(("grid", "subjects", "batch"), [((3, 4), 1, 1), ((5, 9), 2, 3), ((9, 6), 5, 2)])
def test_exact_engines_answer_every_call_as_pytorch_does(
    name: str, grid: tuple[int, int], subjects: int, batch: int
) -> None:
    found = differences(engine(name), grid, subjects, batch=batch)
    assert set(found) == CALLS
    assert max(found.values()) < 2e-5, found


@pytest.mark.parametrize("name", engines(("torch-bf16", "onnx-int8")))
def test_engines_that_round_stay_near(name: str) -> None:
    found = differences(engine(name), (5, 9), 2)
    assert 1e-4 < max(found.values()) < 0.5, found


def test_pytorch_differs_from_itself_by_nothing() -> None:
    assert set(differences(TorchEngine(network())).values()) == {0.0}


@pytest.mark.parametrize("name", engines(EXACT))
def test_exact_engines_generate_what_pytorch_generates(name: str) -> None:
    plain, other = (play_on(started(kind, [3, 4, 5]), STEPS) for kind in ("torch", name))
    for a, b in zip(plain, other, strict=True):
        np.testing.assert_array_equal(a.states.position, b.states.position)
        np.testing.assert_array_equal(a.states.facing, b.states.facing)
        np.testing.assert_array_equal(a.states.alive, b.states.alive)
        np.testing.assert_allclose(a.rewards, b.rewards, atol=1e-3)
        assert np.abs(a.frames.astype(int) - b.frames).max() <= 1
    assert any((a.frames[0] != plain[0].frames[0]).any() for a in plain), "something moves"


@pytest.mark.parametrize("name", engines())
def test_a_rollout_does_not_depend_on_its_batch(name: str) -> None:
    together = play_on(started(name, [3, 4, 5]), STEPS)
    for row, seed in enumerate([3, 4, 5]):
        for one, many in zip(play_on(started(name, [seed]), STEPS, [row]), together, strict=True):
            np.testing.assert_array_equal(one.states.position[0], many.states.position[row])
            np.testing.assert_array_equal(one.states.facing[0], many.states.facing[row])
            np.testing.assert_array_equal(one.states.alive[0], many.states.alive[row])
            assert np.abs(one.frames[0].astype(int) - many.frames[row]).max() <= 1


@pytest.mark.parametrize("name", engines())
def test_the_same_seed_gives_the_same_rollout_bit_for_bit_in_any_thread(name: str) -> None:
    first = play_on(started(name, [3, 4, 5]), STEPS)
    with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),)) as pool:
        again = list(pool.map(lambda _: play_on(started(name, [3, 4, 5]), STEPS), range(2)))
    assert all(same(a, b) for other in again for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", engines())
def test_a_saved_rollout_names_its_engine_and_goes_on_exactly(name: str, tmp_path: Path) -> None:
    going = started(name, [3, 4, 5])
    play_on(going, 2)
    going.save(tmp_path / "middle")
    restored = BatchRollout(network())
    restored.restore(tmp_path / "middle")
    assert restored.settings.engine == restored.engine.name == name
    for a, b in zip(play_on(going, 3), play_on(restored, 3), strict=True):
        assert same(a, b)


def test_a_fork_keeps_the_engine() -> None:
    going = started("torch", [3])
    going.engine.network.eval()
    assert going.fork().engine is going.engine


@pytest.mark.parametrize("name", engines(EXACT))
def test_the_parts_of_a_step_are_timed_with_every_engine(name: str) -> None:
    going = started(name, [3])
    with parts_timed(going) as seconds:
        play_on(going, 1, [0])
    assert set(seconds) == set(PARTS)
    assert all(taken > 0 for taken in seconds.values())


@pytest.mark.parametrize("name", engines(("onnx",)))
@pytest.mark.parametrize("threads", [1, 2])
def test_an_engine_uses_the_threads_it_was_given_and_they_sleep(name: str, threads: int) -> None:
    from actionparty.engines.choice import open_engine

    made = open_engine(name, network(), threads=threads)
    assert isinstance(made, GraphEngine)
    graph = made._runs["heads"]
    assert isinstance(graph, OnnxGraph)
    options = graph._session.get_session_options()
    assert options.intra_op_num_threads == threads
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize("name", engines(("onnx-int8",)))
def test_rounding_is_the_same_whoever_else_is_in_the_batch(name: str) -> None:
    """One scale for a whole matrix would make a rollout depend on the others: so each is run alone."""
    together, alone = (started(name, seeds) for seeds in ([3, 4, 5], [4]))
    for many, one in zip(play_on(together, STEPS), play_on(alone, STEPS, [1]), strict=True):
        np.testing.assert_array_equal(many.frames[1], one.frames[0])


def test_settings_name_the_engine_that_is_used() -> None:
    made = BatchRollout(network(), replace(started("torch", [3]).settings, update_steps=3))
    assert (made.settings.engine, made.engine.name, made.settings.update_steps) == ("torch", "torch", 3)
