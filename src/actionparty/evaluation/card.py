"""The model card of a checkpoint: data, recipe, compute, results world by world, limits.

Everything in it is read from the checkpoint's ``config.json`` and from a report about these very weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from actionparty.data.files import write_atomic
from actionparty.errors import CheckpointError, InvalidInputError
from actionparty.evaluation.folder import REPORT

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


def write_card(checkpoint: Path, report: Path, notes: str = "") -> Path:
    """Write the card and the figures of ``report`` (a report folder, or its report.json) beside the weights.

    ``notes`` is Markdown to put under "Limits". Returns the path of the card.

    Raises:
        InvalidInputError: no report there, or one of other weights.
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
    write_json(checkpoint / QUALITY, {"checkpoint": values["checkpoint"], "worlds": quality})
    path = checkpoint / CARD
    write_atomic(path, card(checkpoint, values, notes).encode())
    return path


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


def card(checkpoint: Path, report: Mapping[str, Any], notes: str) -> str:
    """Return the card as Markdown."""
    origin = about(checkpoint)
    if "train" not in origin or "worlds" not in origin:
        raise CheckpointError(f"{checkpoint}: its configuration does not say how it was trained.")
    size = (checkpoint / WEIGHTS).stat().st_size
    parts = (
        "# Model card",
        _what(report["checkpoint"], size, origin),
        _training(origin),
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


def _training(origin: Mapping[str, Any]) -> str:
    recorded = sum(world["recorded_frames"] for world in origin["worlds"].values())
    recipe = json.dumps(origin["train"])
    return (
        "## Data and training\n\n"
        f"{recorded:,} frames recorded from the simulators by random and seeking policies (docs/data.md; seed labels "
        f"under 1,000,000). This run learned from {origin['frames']:,} frames in {origin['seconds'] / 60:.0f} minutes; "
        "the runs before it, and the machine, are in docs/training-log.md. Its recipe:\n\n"
        f"```json\n{recipe}\n```"
    )


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
