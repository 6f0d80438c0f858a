"""Compare two evaluations, paired: the same held-out starts by two checkpoints (or settings). Knows records only.

A pair is a rollout from the same row of the same held-out episode, or for single steps the same episode. The interval
of a difference resamples pairs, so what is hard for both cancels out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actionparty.checkpoints import find_checkpoint
from actionparty.errors import ActionPartyError, InvalidInputError, unknown_name
from actionparty.evaluation.bootstrap import Ratio, Sums
from actionparty.evaluation.folder import REPORT, RUN, ReportFolder
from actionparty.evaluation.records import RolloutRecord, StepRecord
from actionparty.evaluation.report import COLUMNS, LOWER_IS_BETTER
from actionparty.evaluation.summary import SP_STEPS, world_result
from actionparty.types import Ints

METRICS = (*COLUMNS, "alive_real", "state", "sa1_moving", "nan_frames", "nan_frames_one_step")
"""Names of metrics beside ``sp.STEP``."""
DRAWS = 2000


@dataclass(frozen=True)
class Difference:
    """How a metric differs: B - A, with a 95% interval where there are pairs to resample."""

    a: float
    b: float
    interval: tuple[float, float] | None

    @property
    def value(self) -> float:
        """B - A."""
        return self.b - self.a

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``actionparty compare --json`` prints."""
        interval = {} if self.interval is None else {"ci95": list(self.interval)}
        return {"a": self.a, "b": self.b, "difference": self.value, **interval}


@dataclass(frozen=True)
class WorldComparison:
    """One world: how many pairs there were, and every metric that both measured."""

    rollouts: int
    episodes: int
    metrics: Mapping[str, Difference]


@dataclass(frozen=True)
class Drop:
    """A metric that may not get worse by more than ``allowed``, and by how much it did (below 0: it got better)."""

    metric: str
    allowed: float
    drop: float

    @property
    def passed(self) -> bool:
        """Whether the drop is within what is allowed."""
        return self.drop <= self.allowed


@dataclass(frozen=True)
class Comparison:
    """Two evaluations side by side."""

    a: ReportFolder
    b: ReportFolder
    worlds: Mapping[str, WorldComparison]
    mean: Mapping[str, Difference]
    """Over the worlds in which both measured the metric"""

    def settings(self) -> dict[str, list[Any]]:
        """Return the settings that differ, [A's, B's] by name."""
        one, two = self.a.settings, self.b.settings
        return {k: [one.get(k), two.get(k)] for k in sorted({*one, *two}) if one.get(k) != two.get(k)}

    def left_out(self) -> list[str]:
        """Return the worlds that only one of the two evaluated."""
        return sorted({*self.a.worlds} ^ {*self.b.worlds})

    def drops(self, allowed: Mapping[str, float]) -> list[Drop]:
        """Return how much each metric of ``allowed`` got worse in the mean over worlds.

        Raises:
            InvalidInputError: a metric that was not measured by both.
        """
        for name in allowed:
            if name not in self.mean:
                raise InvalidInputError(f"{name} was not measured in both reports; both have: {', '.join(self.mean)}.")
        sign = {name: 1 if name in LOWER_IS_BETTER else -1 for name in allowed}
        return [Drop(name, amount, sign[name] * self.mean[name].value) for name, amount in allowed.items()]

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``actionparty compare --json`` prints, but for the drops asked for."""
        sides = {
            name: {"folder": str(side.path), "name": side.run["name"], "checkpoint": side.run["checkpoint"]}
            for name, side in (("a", self.a), ("b", self.b))
        }
        worlds = {
            name: {"rollouts": w.rollouts, "episodes": w.episodes, "metrics": _metrics_json(w.metrics)}
            for name, w in self.worlds.items()
        }
        return {
            **sides,
            "settings": self.settings(),
            "worlds": worlds,
            "left_out": self.left_out(),
            "mean": _metrics_json(self.mean),
        }


def _metrics_json(metrics: Mapping[str, Difference]) -> dict[str, Any]:
    return {name: difference.to_json() for name, difference in metrics.items()}


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
    worlds = {w: WorldComparison(p.rollouts, p.episodes, _differences(p.ratios, drawn[w])) for w, p in paired.items()}
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


_Ratios = dict[str, tuple[Ratio, Ratio]]


@dataclass(frozen=True)
class _Pairs:
    """The metrics of one world over what both evaluations share, row by row the same start."""

    rollouts: int
    episodes: int
    ratios: _Ratios


def _pair(a: ReportFolder, b: ReportFolder, world: str) -> _Pairs:
    one, two = _shared_rollouts(a.rollouts(world), b.rollouts(world), world)
    steps = _shared_steps(a.steps(world), b.steps(world))
    if not len(one):
        raise InvalidInputError(
            f"{world}: no rollout of {a.path} starts where one of {b.path} does; evaluate both with the same --data "
            "and --rollouts."
        )
    chanceless = all(world in side.settings.get("deterministic", ()) for side in (a, b))
    results = [world_result(s, r, chanceless) for s, r in zip(steps, (one, two), strict=True)]
    found = [{**r.ratios, **{f"sp.{t}": ratio for t, ratio in r.sp.items()}} for r in results]
    return _Pairs(len(one), len(steps[0].seeds), {k: (v, found[1][k]) for k, v in found[0].items() if k in found[1]})


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
    """Return the indices in ``a`` and in ``b`` of what is in both, in the order of ``a``."""
    places = {key: k for k, key in enumerate(b)}
    found = [(k, places[key]) for k, key in enumerate(a) if key in places]
    one, two = np.array(found, np.int64).reshape(-1, 2).T
    return one, two


def _draws(ratios: _Ratios, rng: np.random.Generator) -> dict[str, Sums]:
    """Return (DRAWS,) differences of resampled pairs by metric; metrics without at least two pairs are absent."""
    sizes = {len(pair[0].total) for pair in ratios.values()}
    picks = {size: rng.integers(0, size, (DRAWS, size)) for size in sorted(sizes) if size > 1}
    out = {}
    for name, (a, b) in ratios.items():
        if len(a.total) in picks and ((a.total > 0) & (b.total > 0)).sum() > 1:
            one, two = (_resampled(ratio, picks[len(a.total)]) for ratio in (a, b))
            out[name] = two - one
    return out


def _resampled(ratio: Ratio, picks: Ints) -> Sums:
    """Return (DRAWS,) the share over resampled rows; NaN where a draw counted nothing."""
    right, total = ratio.right[picks].sum(1), ratio.total[picks].sum(1)
    return np.asarray(np.divide(right, total, out=np.full(len(right), np.nan), where=total > 0))


def _interval(draws: Sums | None) -> tuple[float, float] | None:
    if draws is None or not np.isfinite(draws).any():
        return None
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return float(low), float(high)


def _differences(ratios: _Ratios, draws: Mapping[str, Sums]) -> dict[str, Difference]:
    out = {}
    for name, (a, b) in ratios.items():
        one, two = a.value, b.value
        if one is not None and two is not None:
            out[name] = Difference(one, two, _interval(draws.get(name)))
    return out


def _means(worlds: Mapping[str, WorldComparison], draws: Mapping[str, Mapping[str, Sums]]) -> dict[str, Difference]:
    """Return the mean over worlds of every metric; worlds are given, so only pairs within them are resampled."""
    names = dict.fromkeys(name for world in worlds.values() for name in world.metrics)
    out = {}
    for name in names:
        having = [world for world, found in worlds.items() if name in found.metrics]
        sides = [[getattr(worlds[w].metrics[name], side) for w in having] for side in ("a", "b")]
        resampled = [draws[w][name] for w in having if name in draws[w]]
        spread = np.mean(resampled, axis=0) if len(resampled) == len(having) else None
        out[name] = Difference(float(np.mean(sides[0])), float(np.mean(sides[1])), _interval(spread))
    return out


def read_allowed(texts: Iterable[str]) -> dict[str, float]:
    """Return the largest drop allowed by metric, given as ``METRIC=AMOUNT``.

    Raises:
        InvalidInputError: not of this form, or an amount that is no number from 0 on.
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
        allowed[name] = float(amount)
    return allowed
