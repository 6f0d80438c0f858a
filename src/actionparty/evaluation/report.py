"""What an evaluation found, as plain values: JSON for programs, Markdown for people. Knows no model and no frames."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from actionparty.evaluation.bootstrap import Ratio, Statistic, interval_of, mean_draws
from actionparty.evaluation.detector import ACCURATE

PAPER = {"ma": 0.779, "sp_mean": 0.903}
"""The ActionParty paper's movement accuracy and subject preservation: 46 worlds, at most 7 subjects, 230 rollouts."""
LOWER_IS_BETTER = frozenset(
    {"duplicates", "alive_gap", "nan_frames", "nan_frames_one_step", "lpips", "fvd", "reward_error"}
)
NO_RANK = {"alive": "alive_gap", "alive_real": "alive_gap", "reward_rate": "reward_ap"}
"""What is neither good nor bad, with the metric to judge by: no world is the worst in it, and it can't drop."""
COLUMNS = {
    "ma1": "MA@1",
    "ma1_moving": "MA@1 moving",
    "sa1": "SA@1",
    "ma": "MA",
    "sp_mean": "SP mean",
    "dr": "DR",
    "ea": "EA",
    "tile": "tile",
    "changed_tile": "changed tile",
    "isolation": "isolation",
    "swap": "swap",
    "reward_rate": "reward rate",
    "reward_ap": "reward AP",
    "reward_error": "reward error",
    "reward_sign": "reward sign",
    "return_correlation": "return r",
    "end_accuracy": "end accuracy",
    "duplicates": "duplicates",
    "sync_horizon": "sync steps",
    "psnr": "PSNR dB",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "fvd": "FVD",
    "alive": "alive",
    "alive_gap": "alive gap",
    "detector": "detector",
}
"""Scalar metrics in the order of tables, with their headings."""
OWN_WEIGHTS = {"lpips": "--lpips", "fvd": "--fvd"}
"""Metrics that need a network of the user's, with the option that names its file."""


@dataclass(frozen=True)
class WorldResult:
    """The metrics of one world, each with its sums per rollout or held-out episode, so that intervals can be drawn."""

    name: str
    subjects: int
    rollouts: int
    horizon: int
    seeds: tuple[int, int]
    """Lowest and highest seed of the held-out episodes."""
    ratios: Mapping[str, Statistic]
    sp: Mapping[int, Ratio]
    curves: Mapping[str, list[float | None]] = field(default_factory=dict)
    """Share at each step, by metric; for plots, not in the JSON contract."""
    notes: tuple[str, ...] = ()
    breakdown: Mapping[str, Mapping[str, Ratio]] = field(default_factory=dict)
    """Movement accuracy by ``action`` (its name) and by ``collision`` (``with``, ``without``)"""

    def named(self) -> dict[str, Statistic]:
        """Return all metrics by name, those of ``sp`` as ``sp.STEP``."""
        return {**self.ratios, **{f"sp.{t}": ratio for t, ratio in self.sp.items()}}

    def to_json(self, seed: int) -> dict[str, Any]:
        """Return the object of the contract; what was not measured is absent. ``seed`` is for the intervals."""
        values = {name: r.value for name, r in self.ratios.items() if r.value is not None}
        sp = {str(t): r.value for t, r in self.sp.items() if r.value is not None}
        drawn = {name: r.interval(seed) for name, r in self.named().items()}
        out: dict[str, Any] = {"subjects": self.subjects, "rollouts": self.rollouts, "horizon": self.horizon}
        out |= {"seeds": list(self.seeds), **values, **({"sp": sp} if sp else {})}
        if (accuracy := values.get("detector")) is not None:
            out["detector_flagged"] = accuracy < ACCURATE
        if self.breakdown:
            out["breakdown"] = {kind: _shares(parts) for kind, parts in self.breakdown.items()}
        return out | {"ci95": {k: list(v) for k, v in drawn.items() if v is not None}, "notes": list(self.notes)}


def _shares(parts: Mapping[str, Ratio]) -> dict[str, dict[str, float | int | None]]:
    return {name: {"ma": ratio.value, "n": int(ratio.total.sum())} for name, ratio in parts.items()}


@dataclass(frozen=True)
class EvaluationReport:
    """What one evaluation of one checkpoint found in its worlds."""

    checkpoint: str
    """SHA-256 of the weights."""
    settings: Mapping[str, Any]
    worlds: Mapping[str, WorldResult]

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``actionparty evaluate --json`` prints."""
        seed = int(self.settings.get("seed", 0))
        sources = self.settings.get("labels", {})
        worlds = {
            name: result.to_json(seed) | ({"labels": sources[name]} if name in sources else {})
            for name, result in self.worlds.items()
        }
        return {
            "checkpoint": self.checkpoint,
            "settings": dict(self.settings),
            "worlds": worlds,
            "mean": _mean(worlds) | {"ci95": self._mean_intervals(seed)},
            "worst": _worst(worlds),
        }

    def _mean_intervals(self, seed: int) -> dict[str, list[float]]:
        """Return the interval of each mean over worlds; only rollouts within worlds are resampled."""
        named = [result.named() for result in self.worlds.values()]
        out = {}
        for name in dict.fromkeys(name for ratios in named for name in ratios):
            having = [(k, ratios[name]) for k, ratios in enumerate(named) if name in ratios]
            drawn = [ratio.draws([seed, k]) for k, ratio in having if ratio.value is not None]
            if found := interval_of(mean_draws(drawn)):
                out[name] = list(found)
        return out

    def left_out(self) -> str:
        """Return a line on the metrics that need weights of the user's and are missing; empty where none is."""
        missing = [n for n in OWN_WEIGHTS if not any(n in result.ratios for result in self.worlds.values())]
        named = ", ".join(f"{COLUMNS[n]} ({OWN_WEIGHTS[n]})" for n in missing if not self.settings.get(n))
        short = ", ".join(COLUMNS[n] for n in missing if self.settings.get(n))
        lines = [f"Left out, for want of weights (never downloaded): {named}."] if named else []
        lines += [f"Left out, because the rollouts or recordings are too short: {short}."] if short else []
        return " ".join(lines)

    def dumps(self) -> str:
        """Return the JSON text; a value that is not finite would be a bug and raises ``ValueError``."""
        return json.dumps(self.to_json(), indent=2, allow_nan=False)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return headings and rows of text, one row per world and one for the mean; only measured columns."""
        data = self.to_json()
        rows = {**data["worlds"], "mean": data["mean"]}
        keys = [k for k in COLUMNS if any(k in row for row in rows.values())]
        steps = sorted({int(t) for row in rows.values() for t in row.get("sp", {})})
        headings = ["world", "N", *(COLUMNS[k] for k in keys), *(f"SP@{t}" for t in steps)]
        body = []
        for name, row in rows.items():
            cells = [_number(k, row, row.get("ci95", {}).get(k)) for k in keys]
            cells += [_number(str(t), row.get("sp", {}), row.get("ci95", {}).get(f"sp.{t}")) for t in steps]
            flag = " (!)" if row.get("detector_flagged") else ""
            body.append([name + flag, str(row.get("subjects", "")), *cells])
        return headings, body

    def markdown(self) -> str:
        """Return the table as Markdown, with the paper's numbers and the settings beneath."""
        headings, body = self.table()
        lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
        lines += [f"| {' | '.join(row)} |" for row in body]
        notes = [f"{name}: {note}" for name, result in self.worlds.items() for note in result.notes]
        lines += ["", f"Settings: {json.dumps(dict(self.settings))}. Checkpoint {self.checkpoint[:12]}.", *notes]
        lines.append(f"The paper (not the same episodes): MA {PAPER['ma']}, SP {PAPER['sp_mean']}.")
        lines += [left_out] if (left_out := self.left_out()) else []
        if any(" (!)" in row[0] for row in body):
            lines.append(f"(!) the detector itself is below {ACCURATE} on the real frames of this world.")
        return "\n".join(lines) + "\n"


def _number(key: str, row: Mapping[str, Any], interval: list[float] | None) -> str:
    if key not in row:
        return ""
    digits = 1 if key in ("psnr", "sync_horizon", "fvd") else 3
    half = "" if interval is None else f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
    return f"{row[key]:.{digits}f}{half}"


def _scalars(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in row.items():
        if key not in ("subjects", "rollouts", "horizon") and isinstance(value, float):
            yield key, value
    for step, value in row.get("sp", {}).items():
        yield f"sp.{step}", value


def _collect(worlds: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    out: dict[str, dict[str, float]] = {}
    for name, row in worlds.items():
        for key, value in _scalars(row):
            out.setdefault(key, {})[name] = value
    return out


def _mean(worlds: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    mean: dict[str, Any] = {}
    for key, values in _collect(worlds).items():
        value = float(np.mean(list(values.values())))
        if key.startswith("sp."):
            mean.setdefault("sp", {})[key[3:]] = value
        else:
            mean[key] = value
    return mean


def _worst(worlds: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
    worst: dict[str, list[Any]] = {}
    for key, values in _collect(worlds).items():
        if key in NO_RANK:
            continue
        pick = max if key in LOWER_IS_BETTER else min
        name = pick(values, key=lambda n, v=values: v[n])  # type: ignore[misc]
        worst[key] = [name, values[name]]
    return worst
