from __future__ import annotations

from itertools import permutations

import pytest
import torch
from tests.training.samples import CPU, TINY, arena_clips, play

from actionparty.config import TrainConfig
from actionparty.data.clips import Clips, WorldClips
from actionparty.model.network import Network
from actionparty.model.ops import cell_index
from actionparty.training import corruption
from actionparty.training.corruption import blend_cells, corrupt_tiles
from actionparty.training.objective import Objective, recoloured

KINDS = ("_ERASE", "_DOUBLE", "_DISPLACE", "_OVERWRITE")


def only(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Let ``kind`` happen always and all other corruptions never."""
    for name in KINDS:
        monkeypatch.setattr(corruption, name, float(name == kind))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator(CPU).manual_seed(seed)


@pytest.fixture
def world() -> WorldClips:
    return WorldClips([play(60, 3, subjects=1)])


@pytest.fixture
def clips(world: WorldClips) -> Clips:
    return world.at(world.targets[5:55], TINY.context, TINY.memory)


def test_share_zero_leaves_contexts_untouched(world: WorldClips, clips: Clips) -> None:
    assert torch.equal(corrupt_tiles(world, clips, 0.0, generator()), clips.context)
    pixels = world.tiles[clips.context]
    before = pixels.clone()
    assert not blend_cells(pixels, 0.0, generator()).any()
    assert torch.equal(pixels, before)


def test_corruption_never_touches_the_recording(world: WorldClips, clips: Clips) -> None:
    context, target, grid = clips.context.clone(), clips.target.clone(), world.grid.clone()
    assert not torch.equal(corrupt_tiles(world, clips, 1.0, generator()), context)
    assert torch.equal(clips.context, context)
    assert torch.equal(clips.target, target)
    assert torch.equal(world.grid, grid)


def test_an_erased_subject_leaves_the_common_tile_in_every_frame(
    world: WorldClips, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "_ERASE")
    out = corrupt_tiles(world, clips, 1.0, generator())
    cells = cell_index(clips.position[:, -TINY.context :], world.spec.grid)[..., 0]
    alive = clips.alive[:, -1, 0]
    assert alive.any()
    assert torch.equal(out.gather(2, cells[..., None])[..., 0][alive], world.common[cells][alive])
    there = torch.zeros_like(out, dtype=torch.bool).scatter_(2, cells[..., None], True)
    assert torch.equal(out[~there], clips.context[~there])
    assert (out != clips.context).any()


def test_a_displaced_subject_is_seen_one_cell_away(
    world: WorldClips, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "_DISPLACE")
    out = corrupt_tiles(world, clips, 1.0, generator())
    assert torch.equal(out[:, :-1], clips.context[:, :-1])
    h, w = world.spec.grid
    for row in clips.alive[:, -1, 0].nonzero()[:, 0].tolist():
        cell = int(cell_index(clips.position[row, -1, 0], (h, w)))
        own = clips.context[row, -1, cell]
        assert out[row, -1, cell] == world.common[cell]
        near = [out[row, -1, c] for c in (cell - 1, cell + 1, cell - w, cell + w) if 0 <= c < h * w]
        assert own in near


def test_a_doubled_subject_is_seen_twice(world: WorldClips, clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "_DOUBLE")
    out = corrupt_tiles(world, clips, 1.0, generator())
    rows = clips.alive[:, -1, 0].nonzero()[:, 0]
    cell = cell_index(clips.position[rows, -1, 0], world.spec.grid)
    own = clips.context[rows, -1].gather(1, cell[:, None])
    count = (out[rows, -1] == own).sum(1)
    assert (count >= 1).all()
    assert (count == 2).sum() > len(rows) / 2, "it may only land on its own cell now and then"
    new = (out != clips.context).nonzero()
    assert set(new[:, 2].tolist()) <= set(world.visited.tolist())


def test_overwritten_cells_show_other_tiles_of_the_same_frame(
    world: WorldClips, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "_OVERWRITE")
    out = corrupt_tiles(world, clips, 1.0, generator())
    for row in range(len(out)):
        assert set(out[row, -1].tolist()) <= set(clips.context[row, -1].tolist())


def test_blended_cells_lie_between_two_cells_of_the_frame(
    world: WorldClips, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corruption, "_BLEND", 0.2)
    pixels = world.tiles[clips.context]
    before = pixels.clone()
    chosen = blend_cells(pixels, 1.0, generator())
    assert 0 < chosen.float().mean() < 0.4
    assert torch.equal(pixels.transpose(1, 2)[~chosen], before.transpose(1, 2)[~chosen])
    assert float(pixels.abs().max()) <= 1


def test_the_objective_marks_every_cell_that_must_change_and_keeps_the_target() -> None:
    world = arena_clips()
    clips = world.draw(16, TINY.context, TINY.memory, generator(1))
    objective = Objective(TrainConfig(corrupt=1.0, context_noise=0.0))
    index = torch.zeros(16, dtype=torch.long)
    inputs = objective.inputs(Network(TINY), world, clips, index, generator(2))
    assert torch.equal(inputs.target, world.tiles[clips.target])
    same = (inputs.context[:, -1] == inputs.target).all(-1)
    assert not (~same & ~inputs.changed).any(), "an unmarked cell differs"
    assert (inputs.changed & ~same).sum() > (clips.context[:, -1] != clips.target).sum()


def test_recolouring_exchanges_channels_and_nothing_else() -> None:
    world = arena_clips()
    tiles = world.tiles.clone()
    orders = set()
    for seed in range(40):
        other = recoloured(world, generator(seed))
        same = [
            order
            for order in permutations(range(3))
            if torch.equal(other.tiles, tiles.reshape(-1, 64, 3)[..., list(order)].flatten(1))
        ]
        orders |= set(same)
        assert other.grid is world.grid
    assert len(orders) == 5
    assert (0, 1, 2) not in orders
    assert torch.equal(world.tiles, tiles)


def test_large_worlds_come_in_smaller_batches() -> None:
    config = TrainConfig(batch=32, batch_tokens=4096)
    assert [config.batch_of(cells, n) for cells, n in ((45, 2), (117, 9), (630, 7), (961, 16), (9000, 1))] == [
        32,
        32,
        6,
        4,
        1,
    ]
    assert TrainConfig(batch=32).batch_of(9000, 1) == 32
