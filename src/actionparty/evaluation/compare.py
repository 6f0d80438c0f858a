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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from actionparty.checkpoints import find_checkpoint
from actionparty.errors import ActionPartyError, InvalidInputError, unknown_name
from actionparty.evaluation.bootstrap import DRAWS, Statistic, Sums, interval_of, mean_draws
from actionparty.evaluation.folder import REPORT, RUN, ReportFolder
from actionparty.evaluation.records import RolloutRecord, StepRecord
from actionparty.evaluation.report import COLUMNS, LOWER_IS_BETTER, NO_RANK
from actionparty.evaluation.summary import SP_STEPS, world_result
from actionparty.types import Ints

METRICS = (
    *(*COLUMNS, "alive_real", "state", "sa1_moving", "nan_frames", "nan_frames_one_step"),
    *("end_recall", "end_specificity"),
)
"""Names of metrics beside ``sp.STEP``."""
_ROUNDING = 1e-9
"""A drop that exceeds what is allowed by no more than this does so by rounding."""


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
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    """Metrics that only one side measured, with the side that did not: ``a`` or ``b``"""


@dataclass(frozen=True)
class Drop:
    """A metric that may not get worse by more than ``allowed``, and by how much it did (below 0: it got better)."""

    metric: str
    allowed: float
    drop: float | None
    """None where no world was measured by both"""
    unmeasured: tuple[str, ...] = ()
    """Worlds of A in which B did not measure it, or that B lacks: then nothing says that it did not drop"""

    @property
    def passed(self) -> bool:
        """Whether B measured the metric wherever A did, and the drop is within what is allowed."""
        return not self.unmeasured and self.drop is not None and self.drop <= self.allowed + _ROUNDING


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
        one, two = self._settings_of(self.a, self.b), self._settings_of(self.b, self.a)
        return {k: [one.get(k), two.get(k)] for k in sorted({*one, *two}) if one.get(k) != two.get(k)}

    def _settings_of(self, side: ReportFolder, other: ReportFolder) -> dict[str, Any]:
        """Return the settings of a side; whose labels it used only as far as the other says it too."""
        said, known = side.settings.get("labels", {}), other.settings.get("labels", {})
        return {**side.settings, "labels": {w: said[w] for w in self.worlds if w in said and w in known}}

    def left_out(self) -> list[str]:
        """Return the worlds that only one of the two evaluated."""
        return sorted({*self.a.worlds} ^ {*self.b.worlds})

    def drops(self, allowed: Mapping[str, float]) -> list[Drop]:
        """Return how much each metric of ``allowed`` got worse in the mean over worlds.

        Raises:
            InvalidInputError: a metric that was not measured by both, other than by B's failing to.
        """
        return [self._drop(name, amount) for name, amount in allowed.items()]

    def _drop(self, name: str, allowed: float) -> Drop:
        missing = [world for world, found in self.worlds.items() if found.unmeasured.get(name) == "b"]
        if name not in self.mean and not missing:
            raise InvalidInputError(f"{name} was not measured in both reports; both have: {', '.join(self.mean)}.")
        missing += [world for world in self.a.worlds if world not in self.worlds]
        sign = 1 if name in LOWER_IS_BETTER else -1
        return Drop(name, allowed, sign * self.mean[name].value if name in self.mean else None, tuple(missing))

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``actionparty compare --json`` prints, but for the drops asked for."""
        sides = {
            name: {"folder": str(side.path), "name": side.run["name"], "checkpoint": side.run["checkpoint"]}
            for name, side in (("a", self.a), ("b", self.b))
        }
        worlds = {
            name: {
                "rollouts": w.rollouts,
                "episodes": w.episodes,
                "metrics": _metrics_json(w.metrics),
                "unmeasured": dict(w.unmeasured),
            }
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
