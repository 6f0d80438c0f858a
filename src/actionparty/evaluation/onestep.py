"""Score one generated step from many real contexts: MA@1, SA@1, EA, tiles, rewards, ends, and the two probes.

Memory: one batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actionparty.evaluation.agreement import AveragePrecision
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
    told_rewards,
)
from actionparty.evaluation.moves import OPEN, move_table
from actionparty.evaluation.probes import change_one, exchanged, isolated, swap_pairs
from actionparty.evaluation.rollouts import BatchRollout, RolloutPlan, RolloutStep, Start, pictures
from actionparty.evaluation.tiles import Cells, same, to_cells
from actionparty.types import Bools, Episode, Floats, Ints, SubjectStates


class Tallies:
    """Sums of right and counted, and ranked cases, by metric and held-out episode."""

    def __init__(self, episodes: int) -> None:
        self._episodes = episodes
        self._sums: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros((2, episodes)))
        self._ranked: dict[str, list[tuple[NDArray[Any], ...]]] = defaultdict(list)

    def add(self, name: str, episode: Ints, right: NDArray[np.generic], total: NDArray[np.generic]) -> None:
        """Count ``right`` of ``total``, both (B, ...), for the episodes (B,) they belong to."""
        for sums, values in zip(self._sums[name], (right, total), strict=True):
            np.add.at(sums, episode, np.asarray(values, np.float64).reshape(len(episode), -1).sum(1))

    def rank(self, name: str, episode: Ints, odds: Floats, hit: Bools, weight: NDArray[np.float64]) -> None:
        """Keep cases (B, N): their ``odds``, whether they were a ``hit``, and their episodes and weights (B,)."""
        both = (np.repeat(values, odds.shape[1]) for values in (episode, weight))
        self._ranked[name].append((odds.reshape(-1), hit.reshape(-1), *both))

    def ratios(self) -> dict[str, Ratio]:
        """Return every metric that was counted at all."""
        return {name: Ratio(*sums) for name, sums in self._sums.items() if sums[1].any()}

    def rankings(self) -> dict[str, AveragePrecision]:
        """Return the average precision of all cases kept, of every metric with a hit among them."""
        out = {}
        for name, kept in self._ranked.items():
            odds, hit, episode, weight = (np.concatenate(column) for column in zip(*kept, strict=True))
            if hit.any():
                out[name] = AveragePrecision(odds, hit, episode, weight, self._episodes)
        return out


@dataclass(frozen=True)
class Contexts:
    """A batch of real contexts and the step the simulator took from each: B contexts, rows ``before`` and ``after``."""

    starts: Sequence[Start]
    before: SubjectStates
    after: SubjectStates
    actions: Ints
    rewards: Floats
    """(B, N) received on arrival"""
    ended: Bools
    """(B,) whether the world ended there: only the last row of an episode can"""
    cells_before: Cells
    cells_after: Cells

    @property
    def episode(self) -> Ints:
        """(B,) the number of the held-out episode."""
        return np.array([start.episode for start in self.starts])

    @staticmethod
    def of(episodes: Sequence[Episode], starts: Sequence[Start]) -> Contexts:
        """Collect the rows of ``starts`` and the ones after them."""
        chosen = [(episodes[s.episode], s.row) for s in starts]
        before, after = (SubjectStates.stack([e.states[r + k] for e, r in chosen]) for k in (0, 1))
        was, now = (to_cells(np.concatenate([e.frames(r + k, r + k + 1) for e, r in chosen])) for k in (0, 1))
        actions, rewards = (np.stack([getattr(e, k)[r + 1] for e, r in chosen]) for k in ("actions", "rewards"))
        ended = np.array([e.ended and r + 2 == len(e) for e, r in chosen])
        return Contexts(starts, before, after, actions, rewards, ended, was, now)


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
    _score_rewards(contexts, answer, tallies)
    which = contexts.episode
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
    which = contexts.episode
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


def score_rewards(
    world: BatchRollout, episodes: Sequence[Episode], starts: Sequence[Start], plan: RolloutPlan, tallies: Tallies
) -> None:
    """Predict one step from each start (one batch) and add what was told of rewards and of the end alone."""
    contexts = Contexts.of(episodes, starts)
    _score_rewards(contexts, _predictor(world, episodes, starts, plan)(contexts.actions), tallies)


def _score_rewards(contexts: Contexts, answer: RolloutStep, tallies: Tallies) -> None:
    """Add what was told of rewards and of the end; a lost frame tells no reward, and is wrong about the end."""
    which, over, lost = contexts.episode, contexts.ended, pictures(answer)[1]
    weight = np.array([start.weight for start in contexts.starts])
    told, real = (v.astype(np.float64) for v in (told_rewards(answer.rewards, lost), contexts.rewards))
    some, ended = real != 0, (answer.ended == over) & ~lost

    def add(name: str, right: NDArray[np.generic], total: NDArray[np.generic]) -> None:
        tallies.add(name, which, *(weight * values.reshape(len(weight), -1).sum(1) for values in (right, total)))

    add("reward_rate", some, np.ones_like(some))
    add("reward_error", np.abs(told - real), np.abs(real))
    add("reward_sign", (np.sign(told) == np.sign(real)) & some, some)
    if (odds := getattr(answer, "reward_odds", None)) is not None:
        tallies.rank("reward_ap", which, told_rewards(odds, lost), some, weight)
    tallies.add("end_recall", which, ended & over, over)  # one context of each episode, which stands for itself
    add("end_specificity", ended & ~over, ~over)


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
    which = contexts.episode
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
