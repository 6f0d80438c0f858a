"""Compare two evaluations, paired: the same held-out starts by two checkpoints (or settings). Knows records only.

A pair is a rollout from the same row of the same held-out episode, or for single steps the same episode. The interval
of a difference resamples pairs, so what is hard for both cancels out. What only one side measured has no difference
but is named: a model that removes its subjects leaves nothing to measure, and no gate may take that for no drop.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actionparty.checkpoints import find_checkpoint
from actionparty.errors import ActionPartyError, InvalidInputError, unknown_name
from actionparty.evaluation.bootstrap import DRAWS, Statistic, Sums, interval_of, mean_draws
from actionparty.evaluation.comparison import Comparison, Difference, WorldComparison
from actionparty.evaluation.folder import REPORT, RUN, ReportFolder
from actionparty.evaluation.records import RolloutRecord, StepRecord
from actionparty.evaluation.report import COLUMNS, NO_RANK
from actionparty.evaluation.summary import SP_STEPS, world_result
from actionparty.types import Ints

METRICS = (
    *(*COLUMNS, "alive_real", "state", "sa1_moving", "nan_frames", "nan_frames_one_step"),
    *("end_recall", "end_specificity"),
)
"""Names of metrics beside ``sp.STEP``."""


def compare(a: Path, b: Path, seed: int = 0) -> Comparison:
    """Compare the evaluations in two report folders; ``seed`` is for the intervals.

    Raises:
        InvalidInputError: no finished report folder, another horizon, no shared world or start, or held-out episodes
            of the same seed that are not the same.
        DatasetError: a damaged record.
    """
    one, two = _finished(a), _finished(b)
    if one.settings["horizon"] != two.settings["horizon"]:
        raise InvalidInputError(
            f"rollouts of {one.settings['horizon']} steps in {a} and of {two.settings['horizon']} in {b} can't be "
            "compared; evaluate one of them again with the other's --horizon."
        )
    shared = [world for world in one.worlds if world in two.worlds]
    if not shared:
        raise InvalidInputError(f"no world in common: {', '.join(one.worlds)} in {a}, {', '.join(two.worlds)} in {b}.")
    paired = {world: _pair(one, two, world) for world in shared}
    rng = np.random.default_rng(seed)
    drawn = {world: _draws(pairs.ratios, rng) for world, pairs in paired.items()}
    worlds = {
        world: WorldComparison(p.rollouts, p.episodes, _differences(p.ratios, drawn[world]), p.unmeasured)
        for world, p in paired.items()
    }
    return Comparison(one, two, worlds, _means(worlds, drawn))


def _finished(path: Path) -> ReportFolder:
    folder = path.parent if path.name == REPORT else path
    if not (folder / RUN).exists():
        if (folder / REPORT).exists():
            raise InvalidInputError(f"{folder}: has a report but not its records; evaluate again with --out.")
        if _is_checkpoint(str(path)):
            raise InvalidInputError(
                f"{path} is a checkpoint, not a report folder; make one with: actionparty evaluate {path} --out FOLDER"
            )
    found = ReportFolder.open(path)
    found.check_finished()
    return found


def _is_checkpoint(name: str) -> bool:
    try:
        find_checkpoint(name)
    except ActionPartyError:
        return False
    return True


_Ratios = dict[str, tuple[Statistic, Statistic]]


@dataclass(frozen=True)
class _Pairs:
    """The metrics of one world over what both evaluations share, row by row the same start."""

    rollouts: int
    episodes: int
    ratios: _Ratios
    unmeasured: Mapping[str, str]


def _pair(a: ReportFolder, b: ReportFolder, world: str) -> _Pairs:
    one, two = _shared_rollouts(a.rollouts(world), b.rollouts(world), world)
    steps = _shared_steps(a.steps(world), b.steps(world))
    if not len(one):
        raise InvalidInputError(
            f"{world}: no rollout of {a.path} starts where one of {b.path} does; evaluate both with this "
            "version and the same --data and --rollouts (older ones started where the network's context ended)."
        )
    chanceless = all(world in side.settings.get("deterministic", ()) for side in (a, b))
    results = [world_result(s, r, chanceless) for s, r in zip(steps, (one, two), strict=True)]
    measured = [{name: ratio for name, ratio in r.named().items() if ratio.value is not None} for r in results]
    both = {name: (ratio, measured[1][name]) for name, ratio in measured[0].items() if name in measured[1]}
    lone = {name: "b" if name in measured[0] else "a" for name in {**measured[0], **measured[1]} if name not in both}
    return _Pairs(len(one), len(steps[0].seeds), both, lone)


def _shared_rollouts(a: RolloutRecord, b: RolloutRecord, world: str) -> tuple[RolloutRecord, RolloutRecord]:
    starts = [list(zip(r.seeds.tolist(), r.rows.tolist(), strict=True)) for r in (a, b)]
    one, two = (record.take(index) for record, index in zip((a, b), _shared(*starts), strict=True))
    alike = one.action.shape == two.action.shape and np.array_equal(one.action, two.action)
    if not (alike and np.array_equal(one.real.position, two.real.position)):
        raise InvalidInputError(
            f"{world}: the two were evaluated on different recordings with the same seeds (a simulator can't repeat "
            "one); evaluate both with the same --data."
        )
    return one, two


def _shared_steps(a: StepRecord, b: StepRecord) -> tuple[StepRecord, StepRecord]:
    one, two = _shared(a.seeds.tolist(), b.seeds.tolist())
    return a.take(one), b.take(two)


def _shared(a: Sequence[Any], b: Sequence[Any]) -> tuple[Ints, Ints]:
    """Return the indices in ``a`` and in ``b`` of what is in both, in the order of ``a``.

    The k-th of several equal ones belongs to the k-th: recordings by different policies share seed labels.
    """
    places = {key: k for k, key in enumerate(_counted(b))}
    found = [(k, places[key]) for k, key in enumerate(_counted(a)) if key in places]
    one, two = np.array(found, np.int64).reshape(-1, 2).T
    return one, two


def _counted(keys: Sequence[Any]) -> list[tuple[Any, int]]:
    """Return each key with how many equal ones came before it."""
    seen: Counter[Any] = Counter()
    out = []
    for key in keys:
        out.append((key, seen[key]))
        seen[key] += 1
    return out


def _draws(ratios: _Ratios, rng: np.random.Generator) -> dict[str, Sums]:
    """Return (DRAWS,) differences of resampled pairs by metric; metrics without at least two pairs are absent."""
    sizes = {len(pair[0]) for pair in ratios.values()}
    picks = {size: rng.integers(0, size, (DRAWS, size)) for size in sorted(sizes) if size > 1}
    out = {}
    for name, (a, b) in ratios.items():
        if len(a) in picks and (a.counts & b.counts).sum() > 1:
            one, two = (ratio.resampled(picks[len(a)]) for ratio in (a, b))
            out[name] = two - one
    return out


def _differences(ratios: _Ratios, draws: Mapping[str, Sums]) -> dict[str, Difference]:
    out = {}
    for name, (a, b) in ratios.items():
        one, two = a.value, b.value
        if one is not None and two is not None:
            out[name] = Difference(one, two, interval_of(draws.get(name)))
    return out


def _means(worlds: Mapping[str, WorldComparison], draws: Mapping[str, Mapping[str, Sums]]) -> dict[str, Difference]:
    """Return the mean over worlds of every metric; worlds are given, so only pairs within them are resampled."""
    names = dict.fromkeys(name for world in worlds.values() for name in world.metrics)
    out = {}
    for name in names:
        having = [world for world, found in worlds.items() if name in found.metrics]
        sides = [[getattr(worlds[w].metrics[name], side) for w in having] for side in ("a", "b")]
        spread = interval_of(mean_draws([draws[w].get(name) for w in having]))
        out[name] = Difference(float(np.mean(sides[0])), float(np.mean(sides[1])), spread)
    return out


def read_allowed(texts: Iterable[str]) -> dict[str, float]:
    """Return the largest drop allowed by metric, given as ``METRIC=AMOUNT``.

    Raises:
        InvalidInputError: not of this form, an amount that is no number from 0 on, or a metric without better or worse.
        UnknownNameError: no such metric; the nearest are suggested.
    """
    allowed: dict[str, float] = {}
    for text in texts:
        name, mark, amount = (part.strip() for part in text.partition("="))
        if not mark or not re.fullmatch(r"\d+(\.\d*)?([eE][-+]?\d+)?|\.\d+", amount) or math.isinf(float(amount)):
            raise InvalidInputError(f"--max-drop {text}: expected METRIC=AMOUNT with an amount from 0 on, as ma=0.01.")
        known = (*METRICS, *(f"sp.{t}" for t in SP_STEPS))
        if name not in known:
            raise unknown_name("metric", name, known)
        if name in NO_RANK:
            raise InvalidInputError(
                f"--max-drop {text}: {name} is neither good nor bad; {NO_RANK[name]} tells how well it is met."
            )
        allowed[name] = float(amount)
    return allowed
