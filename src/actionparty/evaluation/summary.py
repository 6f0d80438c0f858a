"""From records to metrics: the one place where what happened becomes shares, curves and notes. Knows no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from actionparty.evaluation.agreement import Correlation
from actionparty.evaluation.bootstrap import Error, Mean, Median, Ratio, Statistic
from actionparty.evaluation.detector import ACCURATE
from actionparty.evaluation.metrics import told_rewards
from actionparty.evaluation.perceptual import CLIP, frechet_distance
from actionparty.evaluation.records import RolloutRecord, StepRecord
from actionparty.evaluation.report import WorldResult
from actionparty.types import Bools

SP_STEPS = (10, 50, 100, 500, 1000)
"""Steps at which subject preservation is given..."""
SP_WINDOW = 10
"""...each as the mean of this many steps, the given one last."""


@dataclass
class Curves:
    """Sums per step and rollout, (T, R), of what was right and what was counted, by metric."""

    right: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)
    total: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)

    def add(self, name: str, right: NDArray[np.generic], total: NDArray[np.generic]) -> None:
        """Append a step: ``right`` and ``total`` (R,) or (R, N), which are summed over subjects."""
        for sums, values in ((self.right, right), (self.total, total)):
            sums.setdefault(name, []).append(np.asarray(values, np.float64).reshape(len(values), -1).sum(1))

    def ratio(self, name: str, start: int = 0, stop: int | None = None) -> Ratio:
        """Return the share over steps ``start`` to ``stop``, with sums per rollout."""
        right, total = (np.stack(sums[name][start:stop]).sum(0) for sums in (self.right, self.total))
        return Ratio(right, total)

    def curve(self, name: str) -> NDArray[np.float64]:
        """Return (T,) the share at each step over all rollouts, NaN where nothing was counted."""
        right, total = (np.stack(sums[name]).sum(1) for sums in (self.right, self.total))
        return np.asarray(np.divide(right, total, out=np.full(len(right), np.nan), where=total > 0))


def curves_of(record: RolloutRecord) -> Curves:
    """Return what was right and counted at each step of a record, by metric."""
    curves = Curves()
    for t in range(record.horizon):
        count, due = record.count[:, t], record.due[:, t]
        known = record.known[:, t]
        state, real = record.state[:, t], record.real[:, t]
        curves.add("sp", (count == 1) & due, due)
        curves.add("dr", (count >= 1) & due, due)
        curves.add("duplicates", (count > 1) & due, due)
        curves.add("ma", record.obeyed[:, t], record.counted[:, t])
        curves.add("nan_frames", record.lost[:, t], np.ones(len(record)))
        curves.add("alive", state.alive, np.ones_like(state.alive))
        curves.add("alive_real", real.alive, np.repeat(known[:, None], real.alive.shape[1], 1))
        placed = (state.cells == real.cells).all(-1) & (state.facing == real.facing)
        curves.add("state", placed & state.alive & real.alive, real.alive)
        curves.add("in_step", record.in_step[:, t], known)
        for name, values in record.similarity.items():
            measured = ~np.isnan(values[:, t])
            if measured.any():
                curves.add(name, np.where(measured, values[:, t], 0), measured)
    return curves


def sync_horizon(record: RolloutRecord) -> NDArray[np.int64]:
    """Return (R,) the number of steps before the first frame that differs from the simulator's."""
    return np.asarray(record.in_step.sum(1))


def censored(record: RolloutRecord) -> int:
    """Return how many rollouts were still in step where the recording, or the rollout, ended."""
    return int((record.in_step == record.known).all(1).sum())


def alive_gap(record: RolloutRecord) -> Ratio:
    """Return how far the share alive in the model's states is from the simulator's, per rollout, while it is known."""
    known = record.known[..., None]
    told, real = ((states.alive & known).sum((1, 2), dtype=np.int64) for states in (record.state, record.real))
    return Ratio.of(np.abs(told - real), record.known.sum(1) * record.world.subjects)


def return_correlation(record: RolloutRecord) -> Correlation | None:
    """Return how generated returns agree with real ones, over rollouts and subjects; None in records without rewards.

    A return is the sum of a subject's rewards over the steps that the recording lasts.
    """
    if not record.rewards:
        return None
    generated = told_rewards(record.rewards["generated"], record.lost)
    columns = (generated, record.rewards["real"])
    return Correlation(*(v.sum(1, dtype=np.float64, where=record.known[..., None]) for v in columns))


def end_accuracy(ratios: Mapping[str, Ratio]) -> Mean | None:
    """Return the balanced accuracy: the mean of the shares right where the world ends, and where it goes on."""
    parts = [ratios[name] for name in ("end_recall", "end_specificity") if name in ratios]
    return Mean(tuple(parts)) if len(parts) == 2 else None


def sp_ratios(curves: Curves) -> dict[int, Ratio]:
    """Return subject preservation at each of ``SP_STEPS`` that was reached."""
    reached = [t for t in SP_STEPS if t <= len(curves.right["sp"])]
    return {t: curves.ratio("sp", t - SP_WINDOW, t) for t in reached}


def frechet(record: RolloutRecord) -> Ratio | None:
    """Return the Frechet distance of generated to real clips; None where there are not two of each to compare."""
    real, generated = (record.features.get(name) for name in ("real", "generated"))
    if real is None or generated is None:
        return None
    known = ~np.isnan(real).any(-1)
    if known.sum() < 2:
        return None
    return Ratio.of([frechet_distance(real[known], generated[known])], [1])


def breakdown(record: RolloutRecord) -> dict[str, dict[str, Ratio]]:
    """Return movement accuracy by the action that was taken, and with and without a collision."""
    actions = {name: record.action == k for k, name in enumerate(record.world.actions)}
    collisions = {"with": record.collision, "without": ~record.collision}
    return {"action": _parts(record, actions), "collision": _parts(record, collisions)}


def _parts(record: RolloutRecord, chosen: Mapping[str, Bools]) -> dict[str, Ratio]:
    sums = {
        name: Ratio.of((record.obeyed & where).sum((1, 2)), (record.counted & where).sum((1, 2)))
        for name, where in chosen.items()
    }
    return {name: ratio for name, ratio in sums.items() if ratio.total.any()}


def world_result(steps: StepRecord, record: RolloutRecord, deterministic: bool) -> WorldResult:
    """Return the metrics of one world; ``deterministic`` asks for the sync horizon."""
    curves = curves_of(record)
    ratios = {**_step_figures(steps), **_rollout_figures(record, curves, deterministic)}
    return WorldResult(
        record.world.name,
        record.world.subjects,
        len(record),
        record.horizon,
        (int(steps.seeds.min()), int(steps.seeds.max())),
        ratios,
        sp_ratios(curves),
        {name: _plain(curves.curve(name)) for name in ("sp", "dr", "ma", "alive", "alive_real")},
        (*steps.notes, *_notes(ratios, steps, record)),
        breakdown(record),
    )


def _step_figures(steps: StepRecord) -> dict[str, Statistic]:
    figures: dict[str, Statistic] = {**steps.ratios, **steps.rankings}
    if (error := steps.ratios.get("reward_error")) is not None:
        figures["reward_error"] = Error(error.right, error.total)
    if (ends := end_accuracy(steps.ratios)) is not None:
        figures["end_accuracy"] = ends
    return figures


def _rollout_figures(record: RolloutRecord, curves: Curves, deterministic: bool) -> dict[str, Statistic]:
    names = ("ma", "dr", "duplicates", "alive", "alive_real", "state", "nan_frames", "psnr", "ssim", "lpips")
    ratios: dict[str, Statistic] = {name: curves.ratio(name) for name in names if name in curves.right}
    ratios["sp_mean"] = curves.ratio("sp")
    ratios["alive_gap"] = alive_gap(record)
    if deterministic:
        ratios["sync_horizon"] = Median.over(sync_horizon(record))
    rest = {"fvd": frechet(record), "return_correlation": return_correlation(record)}
    return ratios | {name: figure for name, figure in rest.items() if figure is not None and figure.value is not None}


def _plain(curve: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(x) else float(x) for x in curve]


def _notes(ratios: Mapping[str, Statistic], steps: StepRecord, record: RolloutRecord) -> list[str]:
    notes = []
    accuracy, nan = ratios["detector"].value, ratios["nan_frames"].value
    if accuracy is not None and accuracy < ACCURATE:
        notes.append(
            f"the detector finds {accuracy:.4f} of the subjects in real frames, which limits what pixels can show."
        )
    if nan:
        notes.append(f"{nan:.4f} of the generated frames were not finite; everybody in them counts as lost.")
    if "sync_horizon" in ratios and (ended := censored(record)):
        notes.append(
            f"{ended} of {len(record)} rollouts were still in step where the recording or the rollout ended: their "
            "sync steps count up to there."
        )
    return notes + _notes_on_intervals(len(steps.seeds), len(record)) + _notes_on_clips(ratios, record)


def _notes_on_intervals(episodes: int, rollouts: int) -> list[str]:
    if rollouts < 2:
        return ["one rollout only: no intervals."]
    if episodes < 2:
        return [
            f"one held-out episode only: no intervals for single steps, and {rollouts} rollouts that start in the "
            "same episode are more alike than their intervals say."
        ]
    if episodes < rollouts:
        return [f"{rollouts} rollouts start in {episodes} held-out episodes; more episodes make intervals sounder."]
    return []


def _notes_on_clips(ratios: Mapping[str, Statistic], record: RolloutRecord) -> list[str]:
    if not record.features and "fvd" not in ratios:
        return []
    clips = int((~np.isnan(record.features["real"]).any(-1)).sum()) if record.features else 0
    if "fvd" not in ratios:
        return [f"no FVD: only {clips} clips of {CLIP} frames before the recordings end; two are needed."]
    return [f"FVD over {clips} clips of {CLIP} frames; it is too high for few clips, so compare equal numbers only."]
