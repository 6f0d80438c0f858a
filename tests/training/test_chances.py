"""Chances fitted to recordings, and rollouts that draw by them."""

from __future__ import annotations

import copy
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.samples import CPU, QUICK, TINY, arena_clips, play, trainer

from actionparty.config import RolloutConfig
from actionparty.data.clips import Clips, WorldClips
from actionparty.model.chances import NEVER, Chances
from actionparty.model.network import Network
from actionparty.training import chances
from actionparty.training.chances import _said, fit_chances
from actionparty.training.checkpoint import load_network
from actionparty.training.lots import StepNoise
from actionparty.training.objective import subjects_of, world_tiles
from actionparty.training.sampling import SampledStep, sample_step

ALWAYS = torch.tensor([0.0, 30.0])


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    made = Network(replace(TINY, worlds=("arena",)))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return made.eval()


@pytest.fixture(scope="module")
def world() -> WorldClips:
    """An arena in which one subject of two is gone for the last third of each recording."""
    clips = WorldClips(play(60, seed, layout=None) for seed in range(3))
    clips.alive[(torch.arange(len(clips.alive)) - clips.first) > 40, 1] = False
    return clips


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator(CPU).manual_seed(seed)


def test_as_many_rewards_are_expected_as_were_recorded(network: Network, world: WorldClips) -> None:
    """Of all rows, an equal share of each kind: weights make up for the kinds' shares."""
    chances = fit_chances(network, world, 10_000, generator())
    assert chances is not None
    clips = world.at(world.targets, network.config.context, network.config.memory)
    with torch.inference_mode():
        odds = chances.rewards(_said(network, world, clips, 1.0, generator()).reward)
    assert float(odds.sum()) == pytest.approx(float((clips.reward != 0).sum()), rel=0.2)


def test_few_rows_stand_for_all(network: Network, world: WorldClips) -> None:
    few = fit_chances(network, world, 30, generator())
    assert few is not None
    ends = few.life_changes(torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool))
    assert float(ends.mean()) < 0.1, "a third of the rows drawn end a life, but only 1 of 57 recorded"


def test_what_never_came_never_comes(network: Network, world: WorldClips) -> None:
    chances = fit_chances(network, world, 90, generator())
    assert chances is not None
    assert chances.table[1].equal(NEVER), "nobody came back in these recordings"


def step(network: Network, world: WorldClips, table: torch.Tensor | None, alive: bool = True) -> SampledStep:
    rows = world.targets[:40]
    clips = world.at(rows, network.config.context, network.config.memory)
    if not alive:
        clips.alive[:, -1] = False
    return _step(network, world, clips, table)


def _step(network: Network, world: WorldClips, clips: Clips, table: torch.Tensor | None) -> SampledStep:
    noise = StepNoise.of(torch.arange(len(clips.rows)), torch.zeros(len(clips.rows), dtype=torch.long))
    index = torch.ones(len(clips.rows), dtype=torch.long)
    context, subjects = world.tiles[clips.context], subjects_of(clips, world.tiles)
    chances = None if table is None else Chances(table)
    with torch.inference_mode():
        known = network.know(world_tiles(world))
        return sample_step(network, context, subjects, world.spec.grid, index, noise, RolloutConfig(), known, chances)


@pytest.mark.parametrize("alive", [True, False])
def test_lives_change_where_they_always_do_and_stay_where_they_never_do(
    network: Network, world: WorldClips, alive: bool
) -> None:
    assert (step(network, world, torch.stack([NEVER] * 3), alive).alive == alive).all()
    after = step(network, world, torch.stack([ALWAYS] * 3), alive).alive
    assert (after != alive).any(1).all(), "who would come back where another does has to wait"
    assert (after != alive).float().mean() > 0.8


def test_lives_and_rewards_come_as_often_as_their_odds_say(network: Network, world: WorldClips) -> None:
    third = torch.tensor([0.0, -0.69])
    sampled = step(network, world, torch.stack([third, NEVER, third]))
    ends, odds = (~sampled.alive).float(), sampled.reward_odds
    assert float(ends.mean()) == pytest.approx(1 / 3, abs=0.16), "three standard errors of 80 lots"
    torch.testing.assert_close(odds, torch.full_like(odds, 1 / 3), atol=1e-3, rtol=0)
    assert float((sampled.reward != 0).float().mean()) == pytest.approx(1 / 3, abs=0.16)


def test_ghosts_and_strangers_are_painted_over(network: Network) -> None:
    """A cell that shows a subject elsewhere, and one that shows another subject than is there, are rendered anew."""
    world = arena_clips(rows=80)
    assert world.looks.max() == 2, "both subjects have tiles of their own"
    network = copy.deepcopy(network)
    gate, states = network.render.gate[-1], network.update.out
    assert isinstance(gate, torch.nn.Linear)
    for part, bias in ((gate, -9.0), (states, 0.0)):  # nothing changes by itself, nobody moves
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.constant_(part.bias, bias)
    assert network.render.palette is not None
    torch.nn.init.constant_(network.render.palette.drawn.bias, -99.0)  # and nothing is drawn
    clips = world.at(world.targets[20:21], network.config.context, network.config.memory)
    width = world.spec.grid[1]
    first, second = (clips.position[0, -1, :, 1] * width + clips.position[0, -1, :, 0]).long().tolist()
    floor = int((clips.context[0, -1] == world.common).nonzero()[-1])
    ghost = clips.context.clone()
    ghost[0, -1, floor], ghost[0, -1, first] = ghost[0, -1, second].clone(), ghost[0, -1, second].clone()
    sampled = _step(network, world, replace(clips, context=ghost), torch.stack([NEVER] * 3))
    assert sampled.changed[0, [floor, first]].all()
    known = network.know(world_tiles(world))
    assert known is not None
    shown = known.find(sampled.pixels)
    assert world.looks[shown[0, [floor, first, second]]].tolist() == [-1, 1, 2]


def test_a_finished_run_writes_its_chances(tmp_path: Path) -> None:
    trainer(tmp_path / "run", replace(QUICK, chance_rows=12)).run()
    chances = load_network(tmp_path / "run" / "weights").chances
    assert set(chances) == {"arena", "arena_large"}
    assert all(made.table.shape == (3, 2) and made.table.isfinite().all() for made in chances.values())


def test_an_interrupted_fit_keeps_what_is_fitted_and_goes_on_with_the_rest(tmp_path: Path) -> None:
    """The wish to end comes after the first world: its chances are in the weights; the second call adds the other's."""
    config = replace(QUICK, chance_rows=12)
    run = trainer(tmp_path / "run", config)
    while run.frames < config.frames:
        run.step()
    run.finish(lambda: bool(run.chances))
    first = load_network(tmp_path / "run" / "weights")
    assert set(first.chances) == {"arena"}
    run.save()
    assert set(load_network(tmp_path / "run" / "weights").chances) == {"arena"}, "a save keeps them"

    again = trainer(tmp_path / "run", config)
    assert again.resume()
    again.run()
    whole = load_network(tmp_path / "run" / "weights").chances
    assert set(whole) == {"arena", "arena_large"}
    assert whole["arena"].table.equal(first.chances["arena"].table)
    again.step()
    assert again.chances == {}, "they were of other weights"


def test_a_fit_stops_in_the_middle_of_a_world(network: Network, world: WorldClips) -> None:
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(len(asked) == 2)
        return asked[-1]

    assert fit_chances(network, world, 10_000, generator(), stop) is None
    assert asked == [False, False, True]


def test_ctrl_c_while_chances_are_fitted_ends_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = chances.fit_chances
    calls: list[str] = []

    def interrupted(network: Network, world: WorldClips, *rest: Any) -> Chances | None:
        calls.append(world.spec.name)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return fit(network, world, *rest)

    monkeypatch.setattr("actionparty.training.trainer.fit_chances", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run", replace(QUICK, chance_rows=12)).run()
    assert calls == ["arena", "arena_large"]
    assert set(load_network(tmp_path / "run" / "weights").chances) == {"arena"}


def test_a_run_without_rows_for_them_leaves_chances_out(tmp_path: Path) -> None:
    trainer(tmp_path / "run", replace(QUICK, chance_rows=0)).run()
    assert load_network(tmp_path / "run" / "weights").chances == {}


def test_no_chances_without_stages() -> None:
    joint = Network(replace(TINY, staged=False, palette=False))
    assert fit_chances(joint, arena_clips(), 12, generator()) is None
