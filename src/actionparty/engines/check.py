"""Whether an engine answers what PyTorch answers: the largest difference of each call, on random inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from actionparty.engines.engine import Engine, TorchEngine
from actionparty.model.ops import CELL_CHANNELS
from actionparty.model.render import CellChoice
from actionparty.model.tokens import Subjects
from actionparty.model.update import STATE_CHANNELS


@torch.inference_mode()
def differences(
    engine: Engine, grid: tuple[int, int] = (3, 4), subjects: int = 2, chosen: int = 5, batch: int = 1, seed: int = 0
) -> dict[str, float]:
    """Return the largest difference from PyTorch in what each call answers, both given the same inputs.

    It is a share of the largest number in the answer, or of 1 where that is larger.
    """
    network, true = engine.network, TorchEngine(engine.network)
    config, g = network.config, torch.Generator().manual_seed(seed)
    h, w = grid
    people = random_subjects(config.memory, batch, subjects, grid, g)
    context = torch.rand((batch, config.context, h * w, CELL_CHANNELS), generator=g) * 2 - 1
    world = torch.randint(len(config.worlds) + 1, (batch,), generator=g)
    noisy = torch.randn((batch, subjects, STATE_CHANNELS), generator=g)
    time = torch.rand(batch, generator=g)
    index = torch.stack([torch.randperm(h * w, generator=g)[:chosen] for _ in range(batch)])
    choice = CellChoice(index, torch.ones_like(index, dtype=torch.bool))
    pixels = torch.randn((batch, index.shape[1], CELL_CHANNELS), generator=g)
    after, alive = people.position[:, 0], people.alive[:, 0]

    seen, said = (e.observe(context, people, grid, world) for e in (true, engine))
    found = {"observe": _apart((seen.cells, seen.subjects), (said.cells, said.subjects))}
    kept, keeps = (e.remember(seen) for e in (true, engine))
    flat = [[m.subjects, *(tensor for pair in m.keys for tensor in pair)] for m in (kept, keeps)]
    found["remember"] = _apart(*flat)
    found["update"] = _apart(*(e.update(seen, kept, noisy, time) for e in (true, engine)))
    resolved, other = (e.resolve(seen, noisy, after, alive) for e in (true, engine))
    found["resolve"] = _apart(*((r.cells, r.subjects, r.gate) for r in (resolved, other)))
    drawn, draws = (e.render(seen, resolved, choice, pixels, time, None) for e in (true, engine))
    found["render"] = _apart(*((r.cells, r.subjects) for r in (drawn, draws)))
    found["heads"] = _apart(*(e.heads(drawn.subjects, seen.subjects, None) for e in (true, engine)))
    return found


def random_subjects(rows: int, batch: int, count: int, grid: tuple[int, int], g: torch.Generator) -> Subjects:
    """Return subjects anywhere on ``grid``, most of them alive, in ``rows`` rows of the past."""
    shape = batch, rows, count
    x, y = (torch.randint(size, shape, generator=g) for size in reversed(grid))
    return Subjects(
        torch.stack([x, y], -1).float(),
        torch.randint(4, shape, generator=g),
        torch.rand(shape, generator=g) < 0.8,
        torch.randint(-1, 8, shape, generator=g),
        torch.randint(8, (batch, count), generator=g),
        torch.randint(50, (batch, count), generator=g).float(),
        torch.rand((batch, count, CELL_CHANNELS), generator=g) * 2 - 1,
    )


def _apart(true: tuple[Tensor, ...] | list[Tensor], said: tuple[Tensor, ...] | list[Tensor]) -> float:
    """Return the largest difference; infinity where a shape differs or a number is none."""
    largest = 0.0
    for a, b in zip(true, said, strict=True):
        if a.shape != b.shape or not bool(b.isfinite().all()):
            return float("inf")
        difference = (a.float() - b.float()).abs().max() / a.abs().max().clamp(min=1)
        largest = max(largest, float(difference))
    return largest
