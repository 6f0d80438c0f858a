"""The model card of a checkpoint: data, recipe, compute, results world by world, limits.

Everything in it is read from the checkpoint's ``config.json``, from a report about these very weights, and from the
manifests of the datasets that they were trained on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actionparty.checkpoints import (
    CARD,
    EXPERIMENTAL_BELOW,
    QUALITY,
    WEIGHTS,
    about,
    fingerprint,
    is_experimental,
    write_json,
)
from actionparty.data.dataset import open_dataset
from actionparty.data.files import write_atomic
from actionparty.data.recording import FIRST_EVALUATION_SEED
from actionparty.errors import CheckpointError, InvalidInputError
from actionparty.evaluation.folder import REPORT
from actionparty.training.ancestry import ancestry_of

_KEPT = (
    *("subjects", "rollouts", "horizon", "detector", "ma1", "ma1_moving", "sa1", "ma", "sp_mean", "ea", "alive_gap"),
    *("reward_rate", "reward_ap", "reward_error", "return_correlation", "end_accuracy"),
)
"""What is written of each world beside the weights."""
_COLUMNS = {
    "ma1": "MA@1",
    "ma1_moving": "MA@1 moving",
    "ma": "MA",
    "sp_mean": "SP",
    "ea": "EA",
    "reward_ap": "reward AP",
    "return_correlation": "return r",
    "detector": "detector",
}
"""What the card shows of each world, where any was measured."""


def write_card(checkpoint: Path, report: Path, notes: str = "", trained_on: Sequence[Path] = ()) -> Path:
    """Write the card and the figures of ``report`` (a report folder, or its report.json) beside the weights.

    ``notes`` is Markdown to put under "Limits"; the recordings ``trained_on`` tell which policies acted in them.
    Returns the path of the card.

    Raises:
        InvalidInputError: no report there, or one of other weights; or other recordings than those it was trained on.
        DatasetError: one of the recordings can't be read.
        CheckpointError: the checkpoint can't be read or written.
    """
    values = _read_report(report)
    if values["checkpoint"] != (own := fingerprint(checkpoint)):
        raise InvalidInputError(
            f"{report}: measured other weights ({values['checkpoint'][:12]}) than {checkpoint / WEIGHTS} "
            f"({own[:12]}); evaluate these first."
        )
    quality = {name: {k: found[k] for k in _KEPT if k in found} for name, found in values["worlds"].items()}
    for name, found in values["worlds"].items():
        quality[name]["sp"] = found.get("sp", {})
    policies = _policies(checkpoint, trained_on) if trained_on else {}
    write_json(checkpoint / QUALITY, {"checkpoint": values["checkpoint"], "worlds": quality})
    path = checkpoint / CARD
    write_atomic(path, card(checkpoint, values, notes, policies).encode())
    return path


def _policies(checkpoint: Path, datasets: Sequence[Path]) -> dict[str, int]:
    """Return how many rows each policy recorded of what a checkpoint was trained on, by the datasets' manifests.

    Raises:
        InvalidInputError: they hold more or fewer rows of a world than it was trained on.
    """
    rows: Counter[str] = Counter()
    found: Counter[str] = Counter()
    trained = {name: world["recorded_frames"] for name, world in about(checkpoint).get("worlds", {}).items()}
    for dataset in dict.fromkeys(datasets):
        for shard in open_dataset(dataset).shards.values():
            if shard.seed < FIRST_EVALUATION_SEED and shard.world.name in trained:
                found[shard.world.name] += shard.rows
                rows[shard.policy] += shard.rows
    for name, wanted in trained.items():
        if found[name] != wanted:
            raise InvalidInputError(
                f"{', '.join(map(str, datasets))}: hold {found[name]:,} rows of {name}, but {checkpoint} was trained "
                f"on {wanted:,}; give the datasets that it was trained on."
            )
    return dict(rows.most_common())


def _read_report(path: Path) -> dict[str, Any]:
    path = path / REPORT if path.is_dir() else path
    try:
        values = json.loads(path.read_text())
        report: dict[str, Any] = {key: values[key] for key in ("checkpoint", "worlds", "mean")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"{path}: not a report ({error}); make one with: actionparty evaluate CHECKPOINT --out FOLDER"
        ) from error
    return report


def card(checkpoint: Path, report: Mapping[str, Any], notes: str, policies: Mapping[str, int]) -> str:
    """Return the card as Markdown; ``policies`` are the rows that each recorded, empty where that is not known."""
    origin = about(checkpoint)
    if "train" not in origin or "worlds" not in origin:
        raise CheckpointError(f"{checkpoint}: its configuration does not say how it was trained.")
    size = (checkpoint / WEIGHTS).stat().st_size
    parts = (
        "# Model card",
        _what(report["checkpoint"], size, origin),
        _training(origin, policies),
        _results(report),
        _limits(report, notes),
    )
    return "\n\n".join(parts) + "\n"


def _what(weights: str, size: int, origin: Mapping[str, Any]) -> str:
    return (
        "A multi-subject video world model: it generates the next frame of a game from the last frames, the subjects' "
        "states and one action per subject. "
        f"{origin['parameters']:,} parameters, {size / 1e6:.1f} MB in bfloat16, {len(origin['worlds'])} worlds. "
        f"Weights `{weights[:12]}`. Apache-2.0.\n\n"
        "It is meant for research on multi-agent learning, for games and prototypes. It is not the simulator: chance "
        "falls otherwise, rare rules may be wrong, and a result that matters should be repeated in the real world."
    )


def _training(origin: Mapping[str, Any], policies: Mapping[str, int]) -> str:
    recorded = sum(world["recorded_frames"] for world in origin["worlds"].values())
    recipe = json.dumps(origin["train"])
    return (
        "## Data and training\n\n"
        f"{recorded:,} frames recorded from the simulators {_recorded_by(policies)} (docs/data.md; seed labels under "
        f"1,000,000). {_compute(origin)}\n\nThe machine is in docs/training-log.md. The recipe of this last run:\n\n"
        f"```json\n{recipe}\n```"
    )


def _recorded_by(policies: Mapping[str, int]) -> str:
    if not policies:
        return "by policies that are not noted here"
    shares = [f"{rows:,} by the policy `{name}`" for name, rows in policies.items()]
    mixed = "; in `mixed` each subject is `random` or `seek`" if "mixed" in policies else ""
    return f"({', '.join(shares)}{mixed})"


def _compute(origin: Mapping[str, Any]) -> str:
    """Return the frames and minutes of the run and of those before it, as far as they are known."""
    before = ancestry_of(origin)
    if not before.runs and before.whole:
        return f"Trained from nothing on {origin['frames']:,} frames in {_minutes(origin['seconds'])}."
    least, count = "" if before.whole else "at least ", len(before.runs) + 1
    frames, seconds = before.frames + origin["frames"], before.seconds + origin["seconds"]
    text = f"Trained on {least}{frames:,} frames in {least}{_minutes(seconds)}, over {least}{count} runs:"
    rows = [
        f"| `{run.weights}` | {run.learn} | {run.worlds} | {run.frames:,} | {_minutes(run.seconds)} |"
        for run in before.runs
    ]
    learned, worlds = origin["train"].get("learn", "all"), len(origin["worlds"])
    rows.append(f"| these | {learned} | {worlds} | {origin['frames']:,} | {_minutes(origin['seconds'])} |")
    if not before.whole:
        rows.insert(0, "| unknown runs before | | | unknown | unknown |")
    table = "\n".join(["| weights | learned | worlds | frames | time |", "| --- | --- | --: | --: | --: |", *rows])
    return f"{text}\n\n{table}\n\n"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.0f} minutes"


def _results(report: Mapping[str, Any]) -> str:
    columns = {k: heading for k, heading in _COLUMNS.items() if k in report["mean"]}
    head = ["world", "subjects", *columns.values(), ""]
    rows = [head, ["---"] * len(head)]
    ranked = sorted(report["worlds"].items(), key=lambda item: -item[1].get("ma1", 0.0))
    for name, found in ranked:
        mark = "experimental" if is_experimental(found) else ""
        rows.append([f"`{name}`", str(found["subjects"]), *(_figure(found.get(k)) for k in columns), mark])
    rows.append(["mean", "", *(_figure(report["mean"].get(k)) for k in columns), ""])
    first = ranked[0][1]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return (
        "## Results\n\n"
        f"Held-out episodes of the real simulators, {first['rollouts']} rollouts of {first['horizon']} steps a world "
        "(docs/evaluation.md says what each figure is; `actionparty evaluate` measures them again).\n\n" + table
    )


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _limits(report: Mapping[str, Any], notes: str) -> str:
    weak = sorted(name for name, found in report["worlds"].items() if is_experimental(found))
    listed = ", ".join(f"`{name}`" for name in weak) or "none"
    text = f"## Limits\n\nExperimental, because MA@1 is below {EXPERIMENTAL_BELOW}: {listed}."
    return f"{text}\n\n{notes.strip()}" if notes.strip() else text
