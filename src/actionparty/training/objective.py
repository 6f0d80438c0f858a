"""What is learned from a batch of clips: one loss and its parts."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from itertools import permutations

import torch
from torch import Tensor
from torch.nn import functional

from actionparty.config import RolloutConfig, TrainConfig
from actionparty.data.clips import Clips, WorldClips
from actionparty.model.joint import Joint
from actionparty.model.network import Network
from actionparty.model.observe import Observed
from actionparty.model.ops import cell_index, gather_cells, mark_cells
from actionparty.model.palette import DRAWN, WorldTiles, looks_at
from actionparty.model.tokens import Subjects
from actionparty.model.update import ALIVE, REACH, STATE_CHANNELS, NextStates, decode_states, encode_states
from actionparty.training.cells import choose_cells
from actionparty.training.corruption import blend_cells, corrupt_tiles
from actionparty.training.flow import interpolate, loss_weight, sample_time
from actionparty.training.lots import StepNoise
from actionparty.training.sampling import sample_step, symlog

_CHANGE = 0.06
"""Largest channel difference (in [-1, 1]) up to which a cell counts as unchanged when contexts are the model's own."""
_GATE_CELLS = 20.0
"""The gate's loss is summed over cells and divided by this, or by twice the number of cells that change where that is
more: a river that moves at random must not drown all else."""
_HIDDEN_TILES = 0.02
"""Share of the known tiles that a batch does not know: cells that show them have to be drawn."""

_ORDERS = tuple(permutations(range(3)))[1:]


@dataclass(frozen=True)
class Inputs:
    """A batch as the network sees it."""

    context: Tensor
    """(B, K, M, 192)"""
    target: Tensor
    """(B, M, 192)"""
    changed: Tensor
    """(B, M) cells of the target that differ from the last context frame"""
    was: Tensor
    """(B, M) long, the tile that each cell showed; P where the context shows something else"""
    subjects: Subjects
    states: NextStates
    position: Tensor
    """(B, N, 2) true next positions"""


def true_states(clips: Clips) -> NextStates:
    """Return the recorded next states as the flow's clean data."""
    moved = clips.next_position - clips.position[:, -1]
    far = moved.abs().amax(-1) > REACH
    jump = clips.next_alive & (~clips.alive[:, -1] | far)
    still = (jump | ~clips.next_alive)[..., None]
    return NextStates(torch.where(still, torch.zeros_like(moved), moved), clips.next_facing, clips.next_alive, jump)


def subjects_of(clips: Clips, tiles: Tensor) -> Subjects:
    """Return the subjects of ``clips``; ``tiles`` (P, 192) is the world's tile table."""
    return Subjects(
        clips.position, clips.facing, clips.alive, clips.past_action, clips.action, clips.age, tiles[clips.identity]
    )


def world_tiles(world: WorldClips) -> WorldTiles:
    """Return what ``world`` shows of its tiles."""
    return WorldTiles(world.tiles, world.changes, world.looks)


class Objective:
    """Turns clips into a loss; holds the settings, not the network."""

    def __init__(self, config: TrainConfig, rollout: RolloutConfig | None = None) -> None:
        self.config = config
        self.rollout = rollout or RolloutConfig(update_steps=1, render_steps=1)

    def __call__(
        self, network: Network, world: WorldClips, clips: Clips, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of ``network`` on ``clips``, and its parts and metrics, detached."""
        index = self._world_index(network, world, len(clips.rows), generator)
        if self.config.recolour and bool(_lot(generator) < self.config.recolour):
            world, index = recoloured(world, generator), torch.zeros_like(index)
        inputs = self.inputs(network, world, clips, index, generator)
        if network.joint is None:
            observed = network.observe(inputs.context, inputs.subjects, world.spec.grid, index)
            parts = self._update_losses(network, observed, inputs, generator) if self.config.learn == "all" else {}
            parts |= self._render_losses(network, observed, inputs, clips, world_tiles(world), generator)
        else:
            parts = _joint_losses(network, network.joint, inputs, clips, (world.spec.grid, index), generator)
        c = self.config
        weights = {
            "state": c.state_weight,
            "return": c.return_weight,
            "jump": c.jump_weight,
            "gate": c.gate_weight,
            "frame": c.frame_weight,
            "tile": c.tile_weight,
            "reward": c.reward_weight,
        }
        loss = torch.stack([weights[name] * value for name, value in parts.items() if name in weights]).sum()
        return loss, {name: value.detach() for name, value in parts.items()} | {"loss": loss.detach()}

    def _world_index(self, network: Network, world: WorldClips, batch: int, generator: torch.Generator) -> Tensor:
        index = torch.full((batch,), network.world_index(world.spec.name), device=generator.device)
        drop = torch.rand(batch, generator=generator, device=generator.device) < self.config.world_dropout
        return torch.where(drop, torch.zeros_like(index), index)

    def inputs(
        self, network: Network, world: WorldClips, clips: Clips, index: Tensor, generator: torch.Generator
    ) -> Inputs:
        """Corrupt the contexts, or replace their last frame by the model's own output, and mark what must change."""
        c = self.config
        tiles = corrupt_tiles(world, clips, c.corrupt, generator)
        context = world.tiles[tiles]
        blended = blend_cells(context, c.corrupt, generator)
        changed = (tiles[:, -1] != clips.target) | blended
        last = clips.context[:, -1]
        shown = (tiles[:, -1] == last) & ~blended
        if bool(_lot(generator) < c.unroll):
            context = self._unrolled(network, world, clips, index, context, generator)
            changed = (context[:, -1] - world.tiles[clips.target]).abs().amax(-1) > _CHANGE
            shown = (context[:, -1] - world.tiles[last]).abs().amax(-1) == 0
        elif c.context_noise:
            device = generator.device
            noisy = torch.rand((len(context), 1, 1, 1), generator=generator, device=device) * c.context_noise
            noisy = noisy * (torch.rand(noisy.shape, generator=generator, device=device) < 0.5)
            context = context + noisy * torch.randn(context.shape, generator=generator, device=device)
        return Inputs(
            context,
            world.tiles[clips.target],
            changed,
            torch.where(shown, last, len(world.tiles)),
            subjects_of(clips, world.tiles),
            true_states(clips),
            clips.next_position,
        )

    @torch.no_grad()
    def _unrolled(
        self,
        network: Network,
        world: WorldClips,
        clips: Clips,
        index: Tensor,
        context: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Generate the last context frame from the clip one step earlier; the recorded states stay the authority."""
        k, memory = context.shape[1], clips.position.shape[1]
        before = world.at(clips.rows, k, memory, back=1)
        earlier = before.rows < clips.rows
        seeds = torch.randint(2**62, (len(clips.rows),), generator=generator, device=generator.device)
        noise = StepNoise.of(seeds, torch.zeros_like(seeds))
        own = sample_step(
            network,
            world.tiles[before.context],
            subjects_of(before, world.tiles),
            world.spec.grid,
            index,
            noise,
            self.rollout,
            network.know(world_tiles(world)),
        ).pixels
        last = torch.where(earlier[:, None, None], own, context[:, -1])
        return torch.cat([context[:, :-1], last[:, None].to(context.dtype)], 1)

    def _update_losses(
        self, network: Network, observed: Observed, inputs: Inputs, generator: torch.Generator
    ) -> dict[str, Tensor]:
        clean = encode_states(inputs.states)
        time = sample_time(len(clean), generator, zero_share=0.3, mean=-0.4, std=1.2)
        noise = torch.randn(clean.shape, generator=generator, device=generator.device)
        memory = network.update.remember(observed)
        predicted, features = network.update(observed, memory, interpolate(clean, noise, time), time)
        losses = state_losses(predicted.float(), inputs, time)
        if bool(inputs.states.jump.any()):
            losses["jump"] = _jump_loss(network.update.point(observed, features), inputs, observed.grid)
        return losses

    def _render_losses(
        self,
        network: Network,
        observed: Observed,
        inputs: Inputs,
        clips: Clips,
        seen: WorldTiles,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        states = inputs.states
        resolved = network.render.resolve(observed, encode_states(states), inputs.position, states.alive)
        gate = functional.binary_cross_entropy_with_logits(resolved.gate, inputs.changed.float(), reduction="none")
        scale = (2 * inputs.changed.sum(1).float().mean()).clamp(min=_GATE_CELLS)
        lots = torch.rand(inputs.changed.shape, generator=generator, device=generator.device)
        own = own_cells(inputs, observed.grid)
        choice = choose_cells(inputs.changed, self.config.render_cells, lots + own)
        known = network.know(seen)
        if known is not None:
            look = known.look(inputs.subjects.identity)
            there = looks_at(inputs.changed.shape[1], look, inputs.position, states.alive, observed.grid)
            choice = replace(choice, was=inputs.was.gather(1, choice.index), there=there.gather(1, choice.index))
        clean = gather_cells(inputs.target, choice.index)
        time = sample_time(len(clean), generator, zero_share=0.35, mean=-0.6, std=1.0)
        noise = torch.randn(clean.shape, generator=generator, device=generator.device)
        noisy = interpolate(clean, noise, time)
        rendered = network.render(observed, resolved, choice, noisy, time, known)
        error = ((rendered.cells - clean) ** 2).mean(-1) * loss_weight(time)[:, None]
        mine = own.gather(1, choice.index)
        losses = {
            "gate": gate.sum(1).mean() / scale,
            "frame": balanced(error, choice.mask, mine),
            "reward": _head_loss(network, (rendered.subjects, observed.subjects), clips),
            "gate_right": _found(resolved.gate.detach() > 0, inputs.changed),
        }
        if rendered.tiles is not None:
            shown = clips.target.gather(1, choice.index)
            error, right = tile_losses(rendered.tiles, shown, generator)
            losses["tile"] = balanced(error, choice.mask, mine)
            losses["tile_right"] = right[choice.mask & (time == 0)[:, None]].float().mean()
        return losses


def tile_losses(logits: Tensor, shown: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy (B, C) of ``logits`` (B, C, 1 + P), and where the likeliest tile is the right one.

    ``shown`` (B, C) are the cells' true tiles. Some tiles are hidden: cells that show one have to be drawn.
    """
    hidden = torch.rand(logits.shape[-1] - 1, generator=generator, device=logits.device) < _HIDDEN_TILES
    right = torch.where(hidden[shown], DRAWN, shown + 1)
    logits = logits.masked_fill(functional.pad(hidden, (1, 0)), -torch.inf)
    return functional.cross_entropy(logits.transpose(1, 2), right, reduction="none"), logits.argmax(-1) == right


def own_cells(inputs: Inputs, grid: tuple[int, int]) -> Tensor:
    """Return (B, M) bool: cells in which a living subject is, now or after the step."""
    places = (inputs.subjects.now, inputs.subjects.alive[:, -1]), (inputs.position, inputs.states.alive)
    return mark_cells(inputs.changed.shape[1], places, grid)


def balanced(error: Tensor, mask: Tensor, own: Tensor) -> Tensor:
    """Return the mean ``error`` (B, C) of the cells of subjects, plus that of all others, which weigh no more.

    Without this a river that changes in every frame takes nine tenths of the loss, and subjects stay blurred.
    """
    mine, others = mask & own, mask & ~own
    count = mine.sum().clamp(min=1)
    return (error * mine).sum() / count + (error * others).sum() / torch.maximum(count, others.sum())


def _joint_losses(
    network: Network,
    joint: Joint,
    inputs: Inputs,
    clips: Clips,
    place: tuple[tuple[int, int], Tensor],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return the losses of one flow over states and all cells; changed cells weigh as much as all others together."""
    grid, index = place
    clean = encode_states(inputs.states), inputs.target
    time = sample_time(len(index), generator, zero_share=0.3, mean=-0.5, std=1.1)
    noise = [torch.randn(c.shape, generator=generator, device=generator.device) for c in clean]
    noisy = interpolate(clean[0], noise[0], time), interpolate(clean[1], noise[1], time)
    states, cells, features, seen = joint(inputs.context, inputs.subjects, grid, index, noisy, time)
    error = ((cells - clean[1]) ** 2).mean(-1) * loss_weight(time)[:, None]
    losses = state_losses(states, inputs, time)
    if bool(inputs.states.jump.any()):
        losses["jump"] = _jump_loss(joint.point(features, seen), inputs, grid)
    halves = (inputs.changed, ~inputs.changed)
    losses["frame"] = torch.stack([error[half].sum() / half.sum().clamp(min=1) for half in halves]).sum()
    losses["reward"] = _head_loss(network, (features, features), clips)
    return losses


def state_losses(predicted: Tensor, inputs: Inputs, time: Tensor) -> dict[str, Tensor]:
    """Return the flow loss of predicted clean states (B, N, STATE_CHANNELS), and that of who comes back.

    The latter is the plain error of ``ALIVE`` at flow time 0, averaged over the subjects that are gone; it is rare.
    """
    error = (predicted - encode_states(inputs.states)) ** 2
    losses = {"state": ((error * _relevant(inputs.states)).mean((1, 2)) * loss_weight(time)).mean()}
    waiting = ~inputs.subjects.alive[:, -1] & (time == 0)[:, None]
    if bool(waiting.any()):
        losses["return"] = error[..., ALIVE][waiting].mean()
    losses["state_right"] = _states_right(predicted.detach(), inputs.states, time)
    return losses


def _jump_loss(logits: Tensor, inputs: Inputs, grid: tuple[int, int]) -> Tensor:
    jump = inputs.states.jump
    landing = cell_index(inputs.position, grid)[jump]
    return functional.cross_entropy(logits[jump], landing, reduction="sum") / len(jump)


def _relevant(states: NextStates) -> Tensor:
    """(B, N, STATE_CHANNELS) 1 where a channel of the next state means something."""
    alive = states.alive.float()
    moves = alive * (~states.jump).float()
    channels = [moves] * 2 + [alive] * (STATE_CHANNELS - 4) + [torch.ones_like(alive), alive]
    return torch.stack(channels, -1)


def _states_right(predicted: Tensor, states: NextStates, time: Tensor) -> Tensor:
    """Share of next states that are right where they are predicted from pure noise; NaN where no clip is.

    A displacement is right to less than half a cell.
    """
    guess = decode_states(predicted, torch.zeros(len(predicted), dtype=torch.bool, device=predicted.device))
    near = (guess.displacement - states.displacement).abs() < 0.5
    same = near.all(-1) & (guess.facing == states.facing)
    right = torch.where(states.alive & ~states.jump, same, True) & (guess.alive == states.alive)
    return right[time == 0].float().mean()


def _found(guess: Tensor, changed: Tensor) -> Tensor:
    """Intersection over union of the cells (B, M) that are said to change and those that do."""
    return (guess & changed).sum() / (guess | changed).sum().clamp(min=1)


def _head_loss(network: Network, features: tuple[Tensor, Tensor], clips: Clips) -> Tensor:
    happens: Tensor
    value: Tensor
    happens, value, end = network.heads(*features)
    some = clips.reward != 0
    loss = functional.binary_cross_entropy_with_logits(happens, some.float())
    loss = loss + ((value - symlog(clips.reward)) ** 2 * some).sum() / some.sum().clamp(min=1)
    return loss + functional.binary_cross_entropy_with_logits(end, clips.ended.float())


def recoloured(world: WorldClips, generator: torch.Generator) -> WorldClips:
    """Return ``world`` with the red, green and blue of all its tiles exchanged, in one of the five ways there are."""
    orders = torch.tensor(_ORDERS, device=generator.device)
    order = orders[torch.randint(len(orders), (), generator=generator, device=generator.device)]
    other = copy(world)
    other.tiles = world.tiles.reshape(len(world.tiles), -1, 3)[..., order].flatten(1)
    return other


def _lot(generator: torch.Generator) -> Tensor:
    return torch.rand((), generator=generator, device=generator.device)
