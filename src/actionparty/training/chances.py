"""Fit how likely lives end and begin and rewards come in a world to its recordings (see ``model/chances.py``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from actionparty.data.clips import Clips, WorldClips
from actionparty.model.chances import NEVER, Chances, fit_odds, log_odds
from actionparty.model.network import Network
from actionparty.model.ops import CELL_CHANNELS
from actionparty.model.update import ALIVE, STATE_CHANNELS, encode_states
from actionparty.training.cells import choose_cells
from actionparty.training.objective import subjects_of, true_states

_BATCH = 16


@dataclass(frozen=True)
class _Cases:
    """Subjects before a step, (n,): what was said of them, and what became of them."""

    life: Tensor
    """log odds that the life changes"""
    reward: Tensor
    """log odds of a reward"""
    alive: Tensor
    changed: Tensor
    rewarded: Tensor
    weight: Tensor


@torch.inference_mode()
def fit_chances(
    network: Network,
    world: WorldClips,
    rows: int,
    generator: torch.Generator,
    stop: Callable[[], bool] = lambda: False,
) -> Chances | None:
    """Return the chances of ``world``, from at most ``rows`` rows; None for a network without stages, or after a stop.

    A third of the rows are such with a life that changes, a third such with a reward, as far as there are so many; each
    row counts for as many as it stands for. ``stop`` is asked before each batch of them.
    """
    if network.joint is not None:
        return None
    targets = world.targets
    changes = (world.alive[targets] != world.alive[targets - 1]).any(1)
    rewards = (world.reward[targets] != 0).any(1) & ~changes
    if not bool((changes | rewards).any()):
        return Chances(torch.stack([NEVER] * 3))
    cases = []
    for kind in (changes, rewards, ~(changes | rewards)):
        part = targets[kind]
        chosen = part[torch.randperm(len(part), generator=generator, device=part.device)[: rows // 3]]
        for some in torch.split(chosen, _BATCH) if len(chosen) else ():
            if stop():
                return None
            clips = world.at(some, network.config.context, network.config.memory)
            cases.append(_said(network, world, clips, len(part) / len(chosen), generator))
    all_ = _Cases(*(torch.cat([getattr(case, field.name) for case in cases]).cpu() for field in fields(_Cases)))
    fits = [fit_odds(all_.life[who], all_.changed[who], all_.weight[who]) for who in (all_.alive, ~all_.alive)]
    return Chances(torch.stack([*fits, fit_odds(all_.reward, all_.rewarded, all_.weight)]))


def _said(network: Network, world: WorldClips, clips: Clips, weight: float, generator: torch.Generator) -> _Cases:
    """Return what the network says of the subjects of ``clips`` at flow time 0, and what became of them."""
    (b, n), device = clips.action.shape, generator.device
    index, start = torch.full((b,), network.world_index(world.spec.name), device=device), torch.zeros(b, device=device)
    states, alive = true_states(clips), clips.alive[:, -1]
    context = world.tiles[clips.context]
    observed = network.observe(context, subjects_of(clips, world.tiles), world.spec.grid, index)
    noise = torch.randn((b, n, STATE_CHANNELS), generator=generator, device=device)
    clean, _ = network.update(observed, network.update.remember(observed), noise, start)
    resolved = network.render.resolve(observed, encode_states(states), clips.next_position, states.alive)
    choice = choose_cells(clips.context[:, -1] != clips.target)
    noise = torch.randn((*choice.index.shape, CELL_CHANNELS), generator=generator, device=device)
    rendered = network.render(observed, resolved, choice, noise, start)
    said, _, _ = network.heads(rendered.subjects, observed.subjects)
    happened = states.alive != alive, clips.reward != 0
    columns = log_odds(clean[..., ALIVE], alive), said.float(), alive, *happened, torch.full_like(said, weight)
    return _Cases(*(column.flatten() for column in columns))
