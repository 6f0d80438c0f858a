"""The recipes of docs/ablations.md: what they share, and that every one of them trains, resumes and rolls out."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from tests.training.samples import QUICK, TINY, trainer

from actionparty.checkpoints import read_json
from actionparty.config import ModelConfig, RolloutConfig, TrainConfig, from_json
from actionparty.errors import InvalidInputError
from actionparty.training.lots import StepNoise
from actionparty.training.objective import subjects_of
from actionparty.training.sampling import sample_step

RECIPES = sorted((Path(__file__).parents[2] / "benchmarks/configs/ablations").glob("*.json"))
SWITCHES = ("spatial_bias", "subject_tokens", "staged", "together", "lasting_identity")


def recipe(path: Path) -> tuple[ModelConfig, TrainConfig]:
    found = read_json(path)
    return from_json(ModelConfig, found["model"]), from_json(TrainConfig, found["train"])


def test_each_recipe_changes_one_thing_and_nothing_of_the_budget() -> None:
    read = {path.stem: recipe(path) for path in RECIPES}
    full = read.pop("full")
    assert len(read) == 6
    for name, (model, train) in read.items():
        changed = [f.name for f in fields(model) if getattr(model, f.name) != getattr(full[0], f.name)]
        assert len(changed) + (train != full[1]) == 1, name
        assert replace(train, corrupt=full[1].corrupt, context_noise=full[1].context_noise) == full[1], name


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_a_recipe_trains_and_rolls_out(path: Path, tmp_path: Path) -> None:
    model, train = recipe(path)
    tiny = replace(TINY, **{name: getattr(model, name) for name in SWITCHES})
    config = replace(QUICK, frames=8, corrupt=train.corrupt, context_noise=train.context_noise)
    run = trainer(tmp_path, config, tiny)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.run()
    moved = [name for name, value in run.network.state_dict().items() if not torch.equal(value, before[name])]
    assert any(".blocks." in name for name in moved)
    again = trainer(tmp_path, config, tiny)
    assert again.resume()
    assert again.frames == 8
    world = run.worlds["arena_large"]
    clips = world.at(world.targets[:3], tiny.context, tiny.memory)
    noise = StepNoise.of(torch.arange(3), torch.zeros(3, dtype=torch.long))
    index = torch.full((3,), again.network.world_index(world.spec.name))
    with torch.no_grad():
        step = sample_step(
            again.network,
            world.tiles[clips.context],
            subjects_of(clips, world.tiles),
            world.spec.grid,
            index,
            noise,
            RolloutConfig(),
        )
    assert step.pixels.shape == (3, 63, 192)
    assert step.pixels.isfinite().all()
    assert step.changed.all() == (not tiny.staged)


@pytest.mark.parametrize(
    "settings",
    [
        {"ema": 5},
        {"corrupt": -3},
        {"render_cells": 0},
        {"unroll": float("nan")},
        {"frames": 1.5},
        {"muon_rate": 0.0},
        {"batch_tokens": -1},
        {"event_share": 0.6, "rare_share": 0.6},
    ],
)
def test_a_recipe_with_nonsense_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match="train config"):
        from_json(TrainConfig, settings)
