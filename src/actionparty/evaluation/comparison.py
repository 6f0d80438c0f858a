"""What a comparison of two evaluations says: differences, what only one side measured, drops. Knows no records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from actionparty.errors import InvalidInputError
from actionparty.evaluation.folder import ReportFolder
from actionparty.evaluation.report import LOWER_IS_BETTER

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
