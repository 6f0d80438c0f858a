"""Small networks whose zero layers were filled, random inputs for them, and all that they answer at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from actionparty.config import ModelConfig, model_preset
from actionparty.model.network import Network
from actionparty.model.ops import CELL_CHANNELS
from actionparty.model.palette import WorldTiles
from actionparty.model.render import CellChoice
from actionparty.model.tokens import Subjects
from actionparty.model.update import STATE_CHANNELS

TINY = replace(model_preset("tiny"), worlds=("arena", "other"))
Grid = tuple[int, int]


def network(seed: int = 0, config: ModelConfig = TINY) -> Network:
    """Make a network of which every output depends on its inputs: layers that start at zero are drawn at random."""
    torch.manual_seed(seed)
    made = Network(config).eval().requires_grad_(False)
    for parameter in made.parameters():
        if not parameter.any():
            parameter.normal_(0, 0.1)
    return made


@dataclass(frozen=True)
class Sample:
    """Everything that one pass through the network needs."""

    grid: Grid
    context: Tensor
    subjects: Subjects
    noise: Tensor
    time: Tensor
    next_state: Tensor
    next_position: Tensor
    next_alive: Tensor
    chosen: Tensor
    pixels: Tensor
    world: Tensor
    cell_mask: Tensor | None = None
    tiles: Tensor | None = None


@dataclass(frozen=True)
class Answers:
    """Everything that the network says of a sample."""

    states: Tensor
    pointer: Tensor
    gate: Tensor
    cells: Tensor
    happens: Tensor
    value: Tensor
    end: Tensor
    tiles: Tensor | None


def random_positions(batch: int, rows: int, count: int, grid: Grid, generator: torch.Generator) -> Tensor:
    h, w = grid
    x = torch.randint(w, (batch, rows, count), generator=generator)
    y = torch.randint(h, (batch, rows, count), generator=generator)
    return torch.stack([x, y], -1).float()


def random_subjects(batch: int, count: int, grid: Grid, seed: int = 0, rows: int = TINY.memory) -> Subjects:
    g = torch.Generator().manual_seed(seed)
    shape = (batch, rows, count)
    return Subjects(
        position=random_positions(*shape, grid, g),
        facing=torch.randint(4, shape, generator=g),
        alive=torch.rand(shape, generator=g) < 0.8,
        past_action=torch.randint(-1, 9, shape, generator=g),
        action=torch.randint(9, (batch, count), generator=g),
        age=torch.randint(50, (batch, count), generator=g).float(),
        identity=torch.rand((batch, count, CELL_CHANNELS), generator=g) * 2 - 1,
    )


def random_sample(batch: int = 2, count: int = 3, grid: Grid = (4, 5), seed: int = 0) -> Sample:
    g = torch.Generator().manual_seed(seed + 1)
    m = grid[0] * grid[1]
    chosen = torch.stack([torch.randperm(m, generator=g)[: max(1, m // 2)] for _ in range(batch)])
    return Sample(
        grid=grid,
        context=torch.rand((batch, TINY.context, m, CELL_CHANNELS), generator=g) * 2 - 1,
        subjects=random_subjects(batch, count, grid, seed),
        noise=torch.randn((batch, count, STATE_CHANNELS), generator=g),
        time=torch.rand(batch, generator=g),
        next_state=torch.randn((batch, count, STATE_CHANNELS), generator=g),
        next_position=random_positions(batch, 1, count, grid, g)[:, 0],
        next_alive=torch.rand((batch, count), generator=g) < 0.8,
        chosen=chosen,
        pixels=torch.randn((batch, chosen.shape[1], CELL_CHANNELS), generator=g),
        world=torch.ones(batch, dtype=torch.long),
        tiles=torch.rand((9, CELL_CHANNELS), generator=g) * 2 - 1,
    )


def answers(net: Network, sample: Sample) -> Answers:
    """Run observe, update, resolve, render and the heads."""
    observed = net.observe(sample.context, sample.subjects, sample.grid, sample.world, sample.cell_mask)
    states, features = net.update(observed, net.update.remember(observed), sample.noise, sample.time)
    resolved = net.render.resolve(observed, sample.next_state, sample.next_position, sample.next_alive)
    choice = CellChoice(sample.chosen, torch.ones_like(sample.chosen, dtype=torch.bool))
    known = None if sample.tiles is None else net.know(WorldTiles.unchanging(sample.tiles))
    rendered = net.render(observed, resolved, choice, sample.pixels, sample.time, known)
    happens, value, end = net.heads(rendered.subjects, observed.subjects, sample.subjects.mask)
    pointer = net.update.point(observed, features)
    return Answers(states, pointer, resolved.gate, rendered.cells, happens, value, end, rendered.tiles)


def by_subject(sample: Sample, change: Subjects, order: Tensor) -> Sample:
    """Return ``sample`` with ``change`` as its subjects and all else that belongs to subjects indexed by ``order``."""
    return replace(
        sample,
        subjects=change,
        noise=sample.noise[:, order],
        next_state=sample.next_state[:, order],
        next_position=sample.next_position[:, order],
        next_alive=sample.next_alive[:, order],
    )


def reorder(subjects: Subjects, order: Tensor) -> Subjects:
    """Index the subjects by ``order``; it may drop, permute or repeat them."""
    rows = {id(subjects.position), id(subjects.facing), id(subjects.alive), id(subjects.past_action)}
    return subjects.map(lambda x: x.index_select(2 if id(x) in rows else 1, order))


def padded_cells(sample: Sample, grid: Grid) -> tuple[Sample, Tensor]:
    """Put ``sample`` into the top left of a larger grid full of noise; also return where its cells are now."""
    h, w = sample.grid
    b, k, _, c = sample.context.shape
    large = torch.randn((b, k, *grid, c), generator=torch.Generator().manual_seed(9))
    large[:, :, :h, :w] = sample.context.reshape(b, k, h, w, c)
    mask = torch.zeros(grid, dtype=torch.bool)
    mask[:h, :w] = True
    where = mask.flatten().nonzero()[:, 0]
    mask = mask.flatten().expand(b, -1)
    moved = replace(sample, grid=grid, context=large.flatten(2, 3), cell_mask=mask, chosen=where[sample.chosen])
    return moved, where
