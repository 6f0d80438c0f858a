"""Which cells change in a step: by the gate's odds, where subjects are, and where a cell shows what is not there."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from actionparty.config import RolloutConfig
from actionparty.model.ops import mark_cells
from actionparty.model.palette import KnownTiles, looks_at
from actionparty.model.render import CellChoice, Resolved
from actionparty.model.tokens import Subjects
from actionparty.model.update import NextStates
from actionparty.training.lots import happens

_FLOOR, _TRUSTED_FLOOR = 0.02, 0.0003
"""Odds of a change below which a cell is copied (``RolloutConfig.gate_floor``)."""


def open_gate(resolved: Resolved, lots: Tensor, settings: RolloutConfig, *, trusted: bool) -> Tensor:
    """Decide by ``lots`` (B, M) and the gate's odds which cells change; small odds count only if ``trusted``."""
    floor = settings.gate_floor
    if floor is None:
        floor = _TRUSTED_FLOOR if trusted else _FLOOR
    return happens(torch.sigmoid(resolved.gate), lots, floor, settings.gate_ceiling)


def touched_cells(resolved: Resolved, subjects: Subjects, states: NextStates, grid: tuple[int, int]) -> Tensor:
    """Return the cells (B, M) that a subject leaves, enters or turns in: they change, whatever the gate says."""
    was = subjects.alive[:, -1]
    different = (states.alive != was) | (resolved.position.round() != subjects.now.round()).any(-1)
    different = different | ((states.facing != subjects.facing[:, -1]) & states.alive)
    places = (subjects.now, different & was), (resolved.position, different & states.alive)
    return mark_cells(resolved.gate.shape[1], places, grid)


def choose_changes(
    changes: tuple[Tensor, Tensor],
    last: Tensor,
    known: KnownTiles | None,
    subjects: Subjects,
    after: tuple[Tensor, Tensor],
    grid: tuple[int, int],
    room: tuple[int, Tensor] | None,
) -> tuple[Tensor, CellChoice]:
    """Return the cells to render, as (B, M) bool and chosen: those that change, and those that are wrong already.

    ``changes`` (B, M) are those by the gate and those that subjects touch. A cell is wrong that doesn't show who is
    there ``after`` the step (positions, and who lives), or shows who is not. What a cell showed before counts only
    where it was right. Where there is ``room`` for a number of cells only, what must change comes before what changes
    by the gate, and among these the largest lots (B, M) do.
    """
    changed, urgent = changes[0] | changes[1], changes[1]
    if known is None:
        return changed, _choose(changed, urgent, room)
    look, shown = known.look(subjects.identity), known.find(last)
    before = looks_at(last.shape[1], look, subjects.now, subjects.alive[:, -1], grid)
    there = looks_at(last.shape[1], look, *after, grid)
    urgent = urgent | known.wrong(shown, there)
    changed = changed | urgent
    was = torch.where(known.wrong(shown, before), known.unknown, shown)
    choice = _choose(changed, urgent, room)
    return changed, replace(choice, was=was.gather(1, choice.index), there=there.gather(1, choice.index))


def _choose(changed: Tensor, urgent: Tensor, room: tuple[int, Tensor] | None) -> CellChoice:
    return choose_cells(changed) if room is None else choose_cells(changed, room[0], urgent + room[1] / 2, fixed=True)


def choose_cells(
    changed: Tensor, limit: int | None = None, lots: Tensor | None = None, *, fixed: bool = False
) -> CellChoice:
    """Gather the True cells of ``changed`` (B, M) into slots, padded to the largest count in the batch (at least 1).

    With a ``limit``, frames with more keep those with the largest ``lots`` (B, M), and if the number of slots is to be
    ``fixed``, it is the limit.
    """
    order = changed.float() if lots is None else changed.float() * (1 + lots)
    if fixed and limit is not None:
        size = min(limit, changed.shape[1])
    else:
        size = max(1, int(changed.sum(1).max()))
        size = size if limit is None else min(size, limit)
    value, index = order.topk(size, 1)
    return CellChoice(index, value > 0)


def put_cells(x: Tensor, choice: CellChoice, new: Tensor) -> Tensor:
    """Return ``x`` (B, M, ...) with the chosen cells replaced by ``new`` (B, C, ...)."""
    index, mask = choice.index, choice.mask
    for size in x.shape[2:]:
        index, mask = (part[..., None].expand(*part.shape, size) for part in (index, mask))
    return x.scatter(1, index, torch.where(mask, new.to(x.dtype), x.gather(1, index)))
