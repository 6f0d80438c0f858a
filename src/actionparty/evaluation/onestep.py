"""Score one generated step from many real contexts: MA@1, SA@1, EA, tiles, and the two probes. Memory: one batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actionparty.evaluation.bootstrap import Ratio
from actionparty.evaluation.detector import Detector
from actionparty.evaluation.labels import tile_grid
from actionparty.evaluation.metrics import (
    cells_right,
    effect_actions,
    effect_cells,
    moving,
    safe_states,
    states_right,
)
from actionparty.evaluation.moves import OPEN, move_table
from actionparty.evaluation.probes import change_one, exchanged, isolated, swap_pairs
from actionparty.evaluation.rollouts import BatchRollout, RolloutPlan, RolloutStep, Start, pictures
from actionparty.evaluation.tiles import Cells, same, to_cells
from actionparty.types import Episode, Floats, Ints, SubjectStates


class Tallies:
    """Sums of right and counted, by metric and held-out episode."""

    def __init__(self, episodes: int) -> None:
        self._sums: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros((2, episodes)))

    def add(self, name: str, episode: Ints, right: NDArray[np.generic], total: NDArray[np.generic]) -> None:
        """Count ``right`` of ``total``, both (B, ...), for the episodes (B,) they belong to."""
        for sums, values in zip(self._sums[name], (right, total), strict=True):
            np.add.at(sums, episode, np.asarray(values, np.float64).reshape(len(episode), -1).sum(1))

    def ratios(self) -> dict[str, Ratio]:
        """Return every metric that was counted at all."""
        return {name: Ratio(*sums) for name, sums in self._sums.items() if sums[1].any()}


@dataclass(frozen=True)
class Contexts:
    """A batch of real contexts and the step the simulator took from each: B contexts, rows ``before`` and ``after``."""

    starts: Sequence[Start]
    before: SubjectStates
    after: SubjectStates
    actions: Ints
    cells_before: Cells
    cells_after: Cells

    @staticmethod
    def of(episodes: Sequence[Episode], starts: Sequence[Start]) -> Contexts:
        """Collect the rows of ``starts`` and the ones after them."""
        chosen = [(episodes[s.episode], s.row) for s in starts]
        before, after = (SubjectStates.stack([e.states[r + k] for e, r in chosen]) for k in (0, 1))
        was, now = (to_cells(np.concatenate([e.frames(r + k, r + k + 1) for e, r in chosen])) for k in (0, 1))
        return Contexts(starts, before, after, np.stack([e.actions[r + 1] for e, r in chosen]), was, now)


def score_steps(
    world: BatchRollout,
    episodes: Sequence[Episode],
    starts: Sequence[Start],
    detector: Detector,
    plan: RolloutPlan,
    tallies: Tallies,
) -> None:
    """Predict one step from each start (one batch) and add what was right to ``tallies``."""
    contexts = Contexts.of(episodes, starts)
    predict = _predictor(world, episodes, starts, plan)
    answer = predict(contexts.actions)
    states = answer.states
    _score_frames(contexts, episodes, answer, detector, tallies)
    which = np.array([s.episode for s in starts])
    due = contexts.after.alive
    right = states_right(states, contexts.after)
    tallies.add("sa1", which, right & due, due)
    moved = moving(contexts.before, contexts.after)
    tallies.add("sa1_moving", which, right & moved, moved)


_Predict = Callable[[Ints], RolloutStep]


def _predictor(
    world: BatchRollout, episodes: Sequence[Episode], starts: Sequence[Start], plan: RolloutPlan
) -> _Predict:
    """Return what predicts one step from the same scenes and noise for any actions (B, N)."""
    scenes = [episodes[s.episode].scene(s.row, plan.context, plan.memory) for s in starts]
    seeds = [plan.noise_seed(s) for s in starts]

    def predict(actions: Ints) -> RolloutStep:
        world.reset(scenes, seeds)
        return world.step(actions)

    return predict


def _score_frames(
    contexts: Contexts,
    episodes: Sequence[Episode],
    answer: RolloutStep,
    detector: Detector,
    tallies: Tallies,
) -> None:
    world = episodes[0].world
    which = np.array([s.episode for s in contexts.starts])
    frames, lost = pictures(answer)
    tallies.add("nan_frames_one_step", which, lost, np.ones(len(lost)))
    wearers = np.stack([detector.labels.wearers(episodes[i]) for i in which])
    reading = detector.read(frames)
    seen = reading.detect(reading.owners(wearers, detector.labels, safe_states(answer.states)), world.subjects)
    right = seen.matches(contexts.after) & ~lost[:, None]
    moved = moving(contexts.before, contexts.after)
    tallies.add("ma1", which, right & contexts.after.alive, contexts.after.alive)
    tallies.add("ma1_moving", which, right & moved, moved)
    tiles = cells_right(detector.vocabulary, to_cells(frames), contexts.cells_after) & ~lost[:, None]
    changed = ~same(contexts.cells_before, contexts.cells_after)
    tallies.add("tile", which, tiles, np.ones_like(tiles))
    tallies.add("changed_tile", which, tiles & changed, changed)
    rates = {i: change_rate(episodes[i]) for i in set(which.tolist())}
    acting = effect_actions(world.actions)[contexts.actions]
    effects = effect_cells(
        changed.reshape(-1, *world.grid), contexts.before, contexts.after, acting, np.stack([rates[i] for i in which])
    ).reshape(changed.shape)
    tallies.add("ea", which, tiles & effects, effects)


def probe_steps(
    world: BatchRollout,
    episodes: Sequence[Episode],
    starts: Sequence[Start],
    detector: Detector,
    plan: RolloutPlan,
    tallies: Tallies,
) -> None:
    """Predict one step from each start with the recorded actions, with one changed, and with two exchanged."""
    contexts = Contexts.of(episodes, starts)
    predict = _predictor(world, episodes, starts, plan)
    spec = episodes[0].world
    which = np.array([s.episode for s in starts])
    rng = np.random.default_rng([plan.seed, *(plan.noise_seed(s) for s in starts)])
    base = predict(contexts.actions)
    one = change_one(contexts.actions, contexts.before.alive, len(spec.actions), rng)
    other = predict(one.actions)
    whole = ~(pictures(base)[1] | pictures(other)[1])
    tallies.add("isolation", which, *isolated(one, contexts.before, base.states, other.states, whole))
    moves = move_table(spec.actions)
    passable = _passable(detector, contexts.cells_before).reshape(-1, *spec.grid)
    pair = swap_pairs(contexts.before, contexts.after, contexts.actions, moves, passable == OPEN, rng)
    if pair.valid.any():
        answer = predict(pair.actions)
        right = exchanged(pair, contexts.before, moves, answer.states, ~pictures(answer)[1])
        tallies.add("swap", which, right, pair.valid)


def _passable(detector: Detector, cells: Cells) -> Ints:
    """Return (B, h * w) ``OPEN``, ``SOLID`` or ``UNKNOWN`` for cells of real frames."""
    index = detector.vocabulary.exact(cells.reshape(-1, cells.shape[-1]))
    known = detector.labels.passable()[index] if len(detector.vocabulary) else index
    return np.where(index >= 0, known, 0).reshape(cells.shape[:-1])


def change_rate(episode: Episode) -> Floats:
    """Return (h, w) the share of an episode's steps at which each cell changes."""
    _, grid = tile_grid(episode)
    return np.asarray((grid[1:] != grid[:-1]).mean(0), np.float32)
