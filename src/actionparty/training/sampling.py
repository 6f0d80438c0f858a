"""One sampled step of a generated world: the network's parts in order, with all noise given as an argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from actionparty.config import RolloutConfig
from actionparty.engines.engine import Engine, TorchEngine
from actionparty.model.chances import Chances
from actionparty.model.joint import Joint
from actionparty.model.network import Network
from actionparty.model.observe import Observed
from actionparty.model.ops import CELL_CHANNELS, within
from actionparty.model.palette import DRAWN, KnownTiles
from actionparty.model.render import Rendered
from actionparty.model.tokens import Subjects
from actionparty.model.update import ALIVE, JUMP, STATE_CHANNELS, NextStates, decode_states, encode_states
from actionparty.training.cells import choose_changes, open_gate, put_cells, touched_cells
from actionparty.training.flow import denoise
from actionparty.training.lots import StepNoise, draw_likely, happens, settle

_UNLIKELY_CELL = 0.2
"""A cell to land on that is less likely than this share of the likeliest is never drawn."""
_UNLIKELY = 0.003
"""What has lower odds by ``Chances`` never comes: a fit says little of what is rarer."""
_UNLIKELY_TILE = 0.7
"""The same of a tile to show: tiles as likely are drawn by lot, as those of moving water are, doubts are not."""


@dataclass(frozen=True)
class SampledStep:
    """What a step gives, B rollouts at once."""

    pixels: Tensor
    """(B, M, 192) the next frame in [-1, 1]"""
    position: Tensor
    """(B, N, 2)"""
    facing: Tensor
    alive: Tensor
    changed: Tensor
    """(B, M) the cells that were rendered; all others are exact copies"""
    reward: Tensor
    """(B, N)"""
    end: Tensor
    """(B,) probability that the episode ends here"""
    finite: Tensor
    """(B,) bool, whether everything that the network said of this step was finite"""
    reward_odds: Tensor
    """(B, N) probability that the reward is not zero"""
    waiting: Tensor
    """(B,) long, cells that should have changed, but for which there was no room (see ``capacity``)"""


def sample_step(
    network: Network | Engine,
    context: Tensor,
    subjects: Subjects,
    grid: tuple[int, int],
    world: Tensor,
    noise: StepNoise,
    settings: RolloutConfig,
    known: KnownTiles | None = None,
    chances: Chances | None = None,
    capacity: int | None = None,
) -> SampledStep:
    """Generate the next frame and states. ``context`` is (B, K, M, 192) in [-1, 1]; see ``Observe.forward``.

    The ``network`` is run by PyTorch, unless it comes in an engine. ``known`` are the tiles that may be copied, of a
    network with a palette; without, everything is drawn. ``chances`` says how likely lives end and begin and rewards
    come; without, lives are left to the flow.

    As many cells are rendered as change. With a ``capacity`` there is room for just so many in each frame, and neither
    shapes nor the amount of work depend on data, so that nothing on a GPU is waited for. What finds no room stays as it
    is: chance events first, which come later or not at all. Known tiles that tell subjects apart make good later where
    somebody is not shown yet, or still is.
    """
    engine = TorchEngine(network) if isinstance(network, Network) else network
    if engine.network.joint is not None:
        joint = engine.network.joint
        return _sample_joint(engine, joint, context, subjects, grid, world, noise, settings, fixed=capacity is not None)
    observed = engine.observe(context, subjects, grid, world)
    lots = noise.states(subjects.action.shape[1])
    states, position, sound = _resolve_states(
        engine, observed, subjects, noise, lots, settings, chances, fixed=capacity is not None
    )
    resolved = engine.resolve(observed, encode_states(states), position, states.alive)
    gate_lots = noise.gate(context.shape[2])
    changed = open_gate(resolved, gate_lots, settings, trusted=chances is not None)
    touched = torch.zeros_like(changed)
    if engine.network.config.subject_tokens:
        touched = touched_cells(resolved, subjects, states, grid)
    last, known = context[:, -1], known if settings.copy_tiles else None
    room = None if capacity is None else (capacity, gate_lots)
    wanted, choice = choose_changes(
        (changed, touched), last, known, subjects, (resolved.position, states.alive), grid, room
    )
    chosen_noise = noise.pixels(choice.index)
    rendered = Rendered(chosen_noise, None, observed.subjects)

    def predict(noisy: Tensor, time: Tensor) -> Tensor:
        nonlocal rendered
        rendered = engine.render(observed, resolved, choice, noisy, time, known)
        return rendered.cells

    clean = denoise(predict, chosen_noise, settings.render_steps)
    sound = sound & resolved.gate.isfinite().all(1) & clean.isfinite().flatten(1).all(1)
    clean = clean.clamp(-1, 1)
    if rendered.tiles is not None and known is not None:
        sound = sound & rendered.tiles.isfinite().flatten(1).all(1)
        clean = _copied(clean, rendered.tiles, known, torch.special.ndtr(chosen_noise[..., 0]))
    pixels, changed = put_cells(last, choice, clean), put_cells(torch.zeros_like(wanted), choice, choice.mask)
    features = rendered.subjects, observed.subjects
    fates = None if chances is None else (chances, torch.special.ndtr(lots[..., JUMP]))
    sampled = _sampled(engine, pixels, position, states, changed, features, subjects, sound, fates)
    return sampled if capacity is None else replace(sampled, waiting=(wanted & ~changed).sum(1))


def _copied(drawn: Tensor, logits: Tensor, known: KnownTiles, lots: Tensor) -> Tensor:
    """Return cells (B, C, 192): ``drawn``, or one of the ``known`` tiles where uniform ``lots`` (B, C) draw one."""
    choice = draw_likely(logits, lots, _UNLIKELY_TILE)
    copied = known.tiles[(choice - 1).clamp(min=0)]
    return torch.where((choice == DRAWN)[..., None], drawn, copied)


def _sample_joint(
    engine: Engine,
    joint: Joint,
    context: Tensor,
    subjects: Subjects,
    grid: tuple[int, int],
    world: Tensor,
    noise: StepNoise,
    settings: RolloutConfig,
    *,
    fixed: bool,
) -> SampledStep:
    """Denoise states and the whole frame together in ``update_steps`` steps."""
    (b, n), m = subjects.action.shape, context.shape[2]
    split = n * STATE_CHANNELS
    start = noise.states(n), noise.pixels(torch.arange(m, device=context.device).expand(b, m))
    features = seen = context

    def predict(noisy: Tensor, time: Tensor) -> Tensor:
        nonlocal features, seen
        parts = noisy[:, :split].reshape(b, n, -1), noisy[:, split:].reshape(b, -1, CELL_CHANNELS)
        states, cells, features, seen = joint(context, subjects, grid, world, parts, time)
        return torch.cat([states.flatten(1), cells.flatten(1)], 1)

    clean = denoise(predict, torch.cat([part.flatten(1) for part in start], 1), settings.update_steps)
    states = decode_states(clean[:, :split].reshape(b, n, -1), subjects.in_cells)
    states, position = _conclude(
        states,
        subjects,
        grid,
        lambda: joint.point(features, seen),
        noise.lots(n),
        exclusive=settings.exclusive,
        fixed=fixed,
    )
    pixels = clean[:, split:].reshape(b, -1, CELL_CHANNELS).clamp(-1, 1)
    changed, sound = torch.ones(b, m, dtype=torch.bool, device=context.device), clean.isfinite().all(1)
    return _sampled(engine, pixels, position, states, changed, (features, features), subjects, sound)


def _sampled(
    engine: Engine,
    pixels: Tensor,
    position: Tensor,
    states: NextStates,
    changed: Tensor,
    features: tuple[Tensor, Tensor],
    subjects: Subjects,
    sound: Tensor,
    lots: tuple[Chances, Tensor] | None = None,
) -> SampledStep:
    said, value, end = engine.heads(*features, subjects.mask)
    odds, over = torch.sigmoid(said), torch.sigmoid(end)
    given = odds > 0.5
    if lots is not None:
        odds = lots[0].rewards(said)
        given = happens(odds, lots[1], _UNLIKELY, 1.0)
    reward = torch.where(given, symexp(value), torch.zeros_like(value))
    none = torch.zeros_like(sound, dtype=torch.long)
    return SampledStep(pixels, position, states.facing, states.alive, changed, reward, over, sound, odds, none)


def _resolve_states(
    engine: Engine,
    observed: Observed,
    subjects: Subjects,
    noise: StepNoise,
    start: Tensor,
    settings: RolloutConfig,
    chances: Chances | None,
    *,
    fixed: bool,
) -> tuple[NextStates, Tensor, Tensor]:
    """Denoise the next states of all subjects together; return them, their positions (B, N, 2), and if finite (B,).

    ``start`` (B, N, STATE_CHANNELS) is the noise to begin with.
    """
    memory = engine.remember(observed)
    features = observed.subjects
    drawn: Tensor | None = None

    def predict(noisy: Tensor, time: Tensor) -> Tensor:
        nonlocal features, drawn
        clean, features = engine.update(observed, memory, noisy, time)
        if chances is None:
            return clean
        if drawn is None:
            was = subjects.alive[:, -1]
            drawn = _draw_lives(chances.life_changes(clean[..., ALIVE], was), was, start[..., ALIVE])
        return torch.cat([clean[..., :ALIVE], drawn[..., None].to(clean.dtype), clean[..., ALIVE + 1 :]], -1)

    clean = denoise(predict, start, settings.update_steps)
    states, position = _conclude(
        decode_states(clean, subjects.in_cells),
        subjects,
        observed.grid,
        lambda: engine.point(observed, features),
        noise.lots(start.shape[1]),
        exclusive=settings.exclusive and engine.network.config.together,
        fixed=fixed,
    )
    return states, position, clean.isfinite().flatten(1).all(1)


def _draw_lives(odds: Tensor, alive: Tensor, noise: Tensor) -> Tensor:
    """Draw who lives after the step, (B, N) 1 or -1, where lives change with ``odds``; by normal ``noise`` (B, N)."""
    changes = happens(odds, torch.special.ndtr(noise), _UNLIKELY, 0.5)
    return (alive ^ changes).float() * 2 - 1


def _conclude(
    states: NextStates,
    subjects: Subjects,
    grid: tuple[int, int],
    point: Callable[[], Tensor],
    lots: Tensor,
    *,
    exclusive: bool,
    fixed: bool,
) -> tuple[NextStates, Tensor]:
    """Return denoised states and the positions (B, N, 2) they lead to; ``point`` says where jumps may land.

    ``exclusive``: nobody enters a cell that another has, where subjects move by cells.
    """
    w = grid[1]
    position = within(subjects.now + states.displacement, grid)
    if fixed or bool(states.jump.any()):
        position = torch.where(states.jump[..., None], _land(point(), lots[..., 0], w), position)
    if exclusive:
        wanted = position
        was = subjects.alive[:, -1]
        position, alive = settle(position, subjects.now, states.alive, was, lots[..., 1], w, fixed=fixed)
        by_cells = subjects.in_cells[:, None]
        position = torch.where(by_cells[..., None], position, wanted)
        alive = torch.where(by_cells, alive, states.alive)
        jump = states.jump & alive & (position == wanted).all(-1)  # who lost its cell stayed, whatever it wanted
        moved = torch.where(jump[..., None], torch.zeros_like(position), position - subjects.now)
        moved = torch.where(alive[..., None], moved, torch.zeros_like(moved))
        states = NextStates(moved, states.facing, alive, jump)
    return states, position


def _land(logits: Tensor, lots: Tensor, w: int) -> Tensor:
    """Return the cell (B, N, 2) drawn from ``logits`` (B, N, M) for each subject that jumps."""
    cell = draw_likely(logits, lots, _UNLIKELY_CELL)
    return torch.stack([cell % w, cell // w], -1).float()


def symlog(x: Tensor) -> Tensor:
    """sign(x) log(1 + |x|): rewards of very different size side by side (arXiv 2301.04104)."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """Inverse of ``symlog``."""
    return x.sign() * x.abs().expm1()
