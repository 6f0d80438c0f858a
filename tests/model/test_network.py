"""The claims of the method that can be tests: binding, permutation, padding, any size, keys computed once."""

from __future__ import annotations

import functools
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from tests.model.samples import (
    TINY,
    Sample,
    answers,
    by_subject,
    network,
    padded_cells,
    random_sample,
    random_subjects,
    reorder,
)
from torch import Tensor, nn
from torch.nn import functional

from actionparty.config import RolloutConfig
from actionparty.model.layers import Block
from actionparty.model.network import Network
from actionparty.model.ops import CELL_CHANNELS, concat_rotary, grid_size, surroundings
from actionparty.model.tokens import Subjects, resting
from actionparty.training.lots import StepNoise
from actionparty.training.sampling import sample_step

close = functools.partial(torch.testing.assert_close, atol=1e-5, rtol=0.0)


def tokens(net: Network, subjects: Subjects) -> Tensor:
    made: Tensor = net.observe.subject_tokens(subjects, grid_size((4, 5), None, subjects.age.device))
    return made


@pytest.mark.parametrize("name", ["action", "past_action"])
def test_an_action_enters_no_token_but_its_own_subjects(name: str) -> None:
    net, subjects = network(), random_subjects(2, 5, (4, 5))
    changed = getattr(subjects, name).clone()
    changed[1, ..., 3] = (changed[1, ..., 3] + 1) % 9
    before, after = tokens(net, subjects), tokens(net, replace(subjects, **{name: changed}))
    same = (before == after).all(-1)
    assert same.sum() == same.numel() - 1
    assert not same[1, 3]


@pytest.mark.parametrize("name", ["position", "facing", "alive", "age", "identity"])
def test_what_is_a_subjects_own_enters_its_token_alone(name: str) -> None:
    net, subjects = network(), random_subjects(2, 5, (4, 5))
    axis = 1 if name in ("age", "identity") else 2
    value = getattr(subjects, name)
    other = ~value if name == "alive" else (value + 1) % 4
    where = torch.arange(5).eq(3).reshape([-1 if a == axis else 1 for a in range(value.dim())])
    after = tokens(net, replace(subjects, **{name: torch.where(where, other, value)}))
    assert (tokens(net, subjects) == after).all(-1)[0].tolist() == [True, True, True, False, True]


def test_a_past_shorter_than_the_memory_is_allowed() -> None:
    subjects = random_subjects(2, 3, (4, 5), rows=1)
    assert tokens(network(), subjects).isfinite().all()


def test_permuting_subjects_permutes_what_is_said_of_them_and_nothing_else() -> None:
    net, sample, order = network(), random_sample(count=5), torch.tensor([3, 0, 4, 1, 2])
    a = answers(net, sample)
    b = answers(net, by_subject(sample, reorder(sample.subjects, order), order))
    for name in ("states", "pointer", "happens", "value"):
        close(getattr(b, name), getattr(a, name)[:, order])
    for name in ("gate", "cells", "end"):
        close(getattr(b, name), getattr(a, name))
    assert (a.states[:, order] - a.states).abs().max() > 0.01


def test_padding_with_subjects_changes_nothing() -> None:
    net, sample = network(), random_sample(count=3)
    order = torch.tensor([0, 1, 2, 1, 0])
    padded = reorder(sample.subjects, order)
    mask = torch.tensor([[True] * 3 + [False] * 2] * 2)
    padded = replace(padded, mask=mask, alive=padded.alive | ~mask[:, None])
    a, b = answers(net, sample), answers(net, by_subject(sample, padded, order))
    for name in ("states", "pointer", "happens", "value"):
        close(getattr(b, name)[:, :3], getattr(a, name))
    for name in ("gate", "cells", "end"):
        close(getattr(b, name), getattr(a, name))


@pytest.mark.parametrize("grid", [(6, 5), (4, 8), (7, 9)])
def test_padding_with_cells_changes_nothing(grid: tuple[int, int]) -> None:
    net, sample = network(), random_sample()
    padded, where = padded_cells(sample, grid)
    a, b = answers(net, sample), answers(net, padded)
    for name in ("states", "cells", "happens", "value", "end"):
        close(getattr(b, name), getattr(a, name))
    close(b.gate[:, where], a.gate)
    close(b.pointer[..., where], a.pointer)
    assert b.pointer.isinf().sum() == b.pointer.shape[0] * 3 * (grid[0] * grid[1] - 20)


@pytest.mark.parametrize(("grid", "count"), [((1, 1), 1), ((3, 3), 2), ((5, 17), 7), ((9, 13), 64), ((21, 30), 5)])
def test_one_set_of_weights_takes_any_grid_and_any_number_of_subjects(grid: tuple[int, int], count: int) -> None:
    result = answers(network(), random_sample(1, count, grid))
    assert result.states.shape == (1, count, 8)
    assert result.pointer.shape == (1, count, grid[0] * grid[1])
    assert result.gate.shape == (1, grid[0] * grid[1])
    assert all(getattr(result, f.name).isfinite().all() for f in fields(result))


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    net, sample = network(), random_sample(batch=3)
    own: dict[str, Any] = {f.name: getattr(sample, f.name) for f in fields(sample)}
    own = {name: value[1:2] for name, value in own.items() if isinstance(value, Tensor) and name != "tiles"}
    alone = replace(sample, subjects=sample.subjects.map(lambda x: x[1:2]), **own)
    a, b = answers(net, sample), answers(net, alone)
    for f in fields(a):
        torch.testing.assert_close(getattr(b, f.name)[0], getattr(a, f.name)[1], atol=1e-4, rtol=1e-5)


def sampled(net: Network, sample: Sample, steps: int, seed: int = 0) -> Tensor:
    b = len(sample.subjects.action)
    noise = StepNoise.of(torch.arange(b) + seed, torch.zeros(b, dtype=torch.long))
    settings = RolloutConfig(update_steps=steps)
    return sample_step(net, sample.context, sample.subjects, sample.grid, sample.world, noise, settings).pixels


def test_more_update_steps_read_the_cells_only_once() -> None:
    net, sample = network(), random_sample(count=3)
    seen: list[int] = []
    observed: list[int] = []
    for block in net.update.blocks:
        assert isinstance(block, Block)
        block.attention.key_value.register_forward_pre_hook(lambda _, x: seen.append(x[0].shape[1]))
    net.observe.register_forward_pre_hook(lambda *_: observed.append(1))
    sampled(net, sample, steps=6)
    layers = len(net.update.blocks)
    assert seen.count(20) == layers
    assert seen.count(3) == 6 * layers
    assert len(observed) == 1


def joint(block: Block, u: Tensor, cells: Tensor, tables: tuple[Tensor, Tensor], c: Tensor) -> Tensor:
    """Do what an update block does without any remembered key: one sequence of subjects and cells."""
    assert block.modulation is not None
    parts = block.modulation(functional.silu(c))[:, None].chunk(6, -1)
    y = block.norm_attention(u) * (1 + parts[0]) + parts[1]
    keys = block.attention.keys(torch.cat([y, block.norm_context(cells)], 1), tables)
    own = (tables[0][:, : u.shape[1]], tables[1][:, : u.shape[1]])
    u = u + (1 + parts[2]) * block.attention(y, own, keys, None)
    after: Tensor = u + (1 + parts[5]) * block.mlp(block.norm_mlp(u) * (1 + parts[3]) + parts[4])
    return after


def test_remembered_keys_equal_one_joint_sequence() -> None:
    net, sample = network(config=replace(TINY, update_layers=2)), random_sample()
    observed = net.observe(sample.context, sample.subjects, sample.grid, sample.world)
    memory = net.update.remember(observed)
    assert net.update.view is not None
    tables = concat_rotary(memory.table, observed.cell_table)
    for time in (0.0, 0.4, 0.9):
        t = torch.full((2,), time)
        around = surroundings(observed.cells, observed.position, sample.subjects.facing[:, -1], sample.grid)
        u = observed.subjects + net.update.view(around) + net.update.noisy(sample.noise)
        for block in net.update.blocks:
            assert isinstance(block, Block)
            u = joint(block, u, observed.cells, tables, net.update.time(t))
        expected = net.update.out(net.update.norm(u))
        close(net.update(observed, memory, sample.noise, t)[0], expected)


def test_a_new_model_draws_plain_cells_and_copies_the_others() -> None:
    torch.manual_seed(0)
    net, sample = Network(TINY).eval(), random_sample()
    assert torch.equal(answers(net, sample).cells, torch.zeros_like(sample.pixels))
    with torch.no_grad():
        frame = sampled(net, sample, 2)
    same = (frame == sample.context[:, -1]).all(-1)
    assert torch.equal(frame[~same], torch.zeros_like(frame[~same]))


def test_only_the_chosen_cells_enter_the_renderer() -> None:
    net, sample = network(), random_sample()
    some = replace(sample, chosen=sample.chosen[:, :1], pixels=sample.pixels[:, :1])
    assert answers(net, some).cells.shape == (2, 1, CELL_CHANNELS)


def test_an_unknown_world_shares_the_first_embedding() -> None:
    net, sample = network(), random_sample()
    assert [net.world_index(name) for name in ("arena", "other", "never seen")] == [1, 2, 0]
    unknown = answers(net, replace(sample, world=torch.zeros(2, dtype=torch.long)))
    assert unknown.states.isfinite().all()
    assert (unknown.states - answers(net, sample).states).abs().max() > 1e-4


def test_a_dead_subject_is_not_placed_on_the_map() -> None:
    net, sample = network(), random_sample(count=1)
    dead = replace(sample, next_alive=torch.zeros(2, 1, dtype=torch.bool))
    moved = replace(dead, next_position=(dead.next_position + 1) % 4)
    assert torch.equal(answers(net, dead).gate, answers(net, moved).gate)


def test_without_placement_the_cell_features_of_resolve_stay() -> None:
    net, sample = network(config=replace(TINY, placement=False)), random_sample()
    observed = net.observe(sample.context, sample.subjects, sample.grid, sample.world)
    resolved = net.render.resolve(observed, sample.next_state, sample.next_position, sample.next_alive)
    assert torch.equal(resolved.cells, observed.cells)


def test_every_weight_is_trained() -> None:
    net, sample = network().requires_grad_(True), random_sample()
    result = answers(net, sample)
    loss = torch.stack([getattr(result, f.name).square().sum() for f in fields(result)]).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    idle = {name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle == set()


def test_the_count_of_parameters_is_that_of_the_modules() -> None:
    net = network()
    assert net.parameters_count == sum(v.numel() for v in net.state_dict().values())
    assert isinstance(net, nn.Module)


def test_rest_counts_the_last_steps_without_any_change() -> None:
    position = torch.zeros(1, 6, 3, 2)
    position[:, 3:, 1] = 1.0  # subject 1 moved into row 3
    facing = torch.zeros(1, 6, 3, dtype=torch.long)
    facing[:, 5, 2] = 2  # subject 2 turned into row 5
    subjects = replace(random_subjects(1, 3, (4, 5)), position=position, facing=facing)
    assert resting(subjects, 6).tolist() == [[5, 2, 0]]
    assert resting(subjects, 3).tolist() == [[2, 2, 0]]
    assert resting(subjects, 1).tolist() == [[0, 0, 0]]


def test_how_long_a_subject_rested_matters_only_with_the_clock_and_for_the_living() -> None:
    net, without = network(config=replace(TINY, rest_clock=True)), network(config=replace(TINY, rest_clock=False))
    subjects = random_subjects(2, 3, (4, 5))
    with_rest = tokens(net, subjects)
    rest = net.observe.subject_tokens.rest
    assert isinstance(rest, nn.Embedding)
    share = rest(resting(subjects, TINY.memory)) * subjects.presence[..., None]
    rest.weight.zero_()
    close(with_rest - tokens(net, subjects), share)
    assert share.abs().amax(-1)[subjects.alive[:, -1] & (resting(subjects, TINY.memory) > 0)].gt(0).all()
    assert without.observe.subject_tokens.rest is None
