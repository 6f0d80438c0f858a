from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tests.interfaces.play.stage import SPEC, WORLD, make_engine
from tests.model.samples import network, random_sample

from actionparty.checkpoints import find_checkpoint
from actionparty.config import RolloutConfig
from actionparty.interfaces.play.menu import ShippedMenu
from actionparty.interfaces.play.see import attend_update, block_attention, look
from actionparty.model.layers import Block
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.snapshot import take
from actionparty.training.checkpoint import load_network
from actionparty.types import FACING_STEPS


def test_the_attention_read_outside_gives_what_the_model_computes_inside() -> None:
    """Weights times values, through the same output layer, is the block's own attention."""
    net, sample = network(1), random_sample(2, 3)
    observed = net.observe(sample.context, sample.subjects, sample.grid, sample.world)
    memory = net.update.remember(observed)
    embedded = net.update.time(sample.time)
    u = memory.subjects + net.update.noisy(sample.noise)
    for block, keys in zip(net.update.blocks, memory.keys, strict=True):
        assert isinstance(block, Block)
        weights = block_attention(block, u, memory.table, embedded, keys, memory.mask)
        assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-5)
        caught: list[torch.Tensor] = []
        handle = block.attention.out.register_forward_pre_hook(lambda _, args, into=caught: into.append(args[0]))
        values: list[torch.Tensor] = []
        inside = block.attention.register_forward_pre_hook(lambda _, args, into=values: into.append(args[2][1]))
        u = block(u, memory.table, embedded, keys, memory.mask)
        handle.remove()
        inside.remove()
        outside = (weights @ values[0]).transpose(1, 2).flatten(2)
        assert torch.allclose(outside, caught[0], atol=1e-5)


def test_attention_over_cells_leaves_the_rest_to_subjects() -> None:
    net, sample = network(2), random_sample(1, 3)
    observed = net.observe(sample.context, sample.subjects, sample.grid, sample.world)
    seen = attend_update(net, observed, net.update.remember(observed), sample.noise, sample.time)
    assert seen.shape == (1, 3, 20)
    assert (seen >= 0).all()
    assert (seen.sum(-1) < 1).all()


def test_the_expected_cell_is_where_the_subject_goes(folder: Path) -> None:
    engine, menu = make_engine(folder), ShippedMenu(folder)
    snapshot = engine.begin(menu.scene(WORLD, 0), 4).result()
    for step in range(6):
        actions = np.random.default_rng(step).integers(0, len(SPEC.actions), SPEC.subjects)
        seen = look(engine.network(WORLD), engine.settings, snapshot, actions)
        before = snapshot.states.cells
        snapshot = engine.step(snapshot, actions).result().snapshot
        after = snapshot.states.cells
        assert [(s.x, s.y) for s in seen] == [tuple(c) for c in before.tolist()]
        assert [(s.next_x, s.next_y) for s in seen] == [tuple(c) for c in after.tolist()]
        for each in seen:
            told = each.to_json()
            assert len(told["attention"]) == SPEC.grid[0] * SPEC.grid[1]
            assert max(told["attention"]) == 1
    engine.close()


def test_a_trained_subject_looks_at_the_cell_ahead() -> None:
    """The shipped weights: of a subject that is told to go forward, the cell before it gets the most attention."""
    folder = find_checkpoint("starter")
    net, menu = load_network(folder), ShippedMenu(folder)
    world = "commons_harvest__open"
    hits = total = 0
    for index in range(3):
        scene = menu.scene(world, index)
        rollout = BatchRollout(net)
        rollout.reset([scene], [index])
        seen = look(net, RolloutConfig(), take(rollout)[0], np.full(7, scene.world.actions.index("forward")))
        ahead = scene.states[-1].cells + FACING_STEPS[scene.states.facing[-1]]
        for subject, each in enumerate(seen):
            best = int(each.attention.argmax())
            hits += (best % 24, best // 24) == tuple(ahead[subject].tolist())
            total += 1
    assert hits >= 0.7 * total
