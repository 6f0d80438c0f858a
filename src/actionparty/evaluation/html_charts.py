"""Small charts as inline SVG: lines over time, and points by a whole number. Knows numbers and labels, no metric.

Colours come from the style sheet by class, so that charts follow a light or a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from actionparty.evaluation.html_markup import Markup, breakable, join, tag

WIDTH, HEIGHT = 480, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 10, 10, 40
COLOURS = 8
"""Classes ``c0`` to ``c7`` of the style sheet."""
MOST_POINTS = 100
"""Longer curves are drawn as means over windows of several steps."""


@dataclass(frozen=True)
class Series:
    """One line: ``values`` at steps 1, 2, ..., None where nothing was measured."""

    label: str
    values: Sequence[float | None]
    style: str
    """Class of the style sheet."""


@dataclass(frozen=True)
class Point:
    """One dot: ``y`` at the whole number ``x``, with its interval where there is one."""

    label: str
    x: int
    y: float
    interval: tuple[float, float] | None
    style: str


@dataclass(frozen=True)
class Axes:
    """What the axes say, and how data becomes places: x from ``x`` [low, high], y from ``y`` [low, high]."""

    x_label: str
    y_label: str
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the place of a point in units of the view box."""
        across = (x - self.x[0]) / max(self.x[1] - self.x[0], 1e-9)
        up = (y - self.y[0]) / max(self.y[1] - self.y[0], 1e-9)
        return _LEFT + across * (WIDTH - _LEFT - _RIGHT), HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM)


def colour(index: int) -> str:
    """Return the class of the ``index``-th line or point; beyond ``COLOURS`` they repeat, dashed."""
    return f"c{index % COLOURS}" + (" dashed" if index >= COLOURS else "")


def measured(values: Iterable[float | None]) -> list[float]:
    """Return those values that are there and finite."""
    return [v for v in values if v is not None and math.isfinite(v)]


def binned(values: Sequence[float | None], window: int) -> list[float | None]:
    """Return means over windows of ``window`` steps, None where a whole window is unmeasured."""
    parts = (measured(values[i : i + window]) for i in range(0, len(values), window))
    return [sum(part) / len(part) if part else None for part in parts]


def line_chart(
    title: str, series: Sequence[Series], y_label: str, reference: tuple[str, float] | None = None
) -> Markup:
    """Return a figure of shares (0 to 1) over steps, with a legend that tells the values under the pointer.

    ``reference`` draws a named horizontal line.
    """
    steps = max((len(s.values) for s in series), default=0)
    window = max(1, math.ceil(steps / MOST_POINTS))
    drawn = [(s, binned(s.values, window)) for s in series]
    every = measured(v for _, values in drawn for v in values)
    if not every:
        return empty(title)
    low = _floor(every + ([reference[1]] if reference else []))
    axes = Axes("step", y_label + (f", mean of {window} steps" if window > 1 else ""), (0, steps), (low, 1))
    centres = [min(i + (window + 1) / 2, steps) for i in range(0, steps, window)]
    lines = [_line(axes, k, s, values, centres) for k, (s, values) in enumerate(drawn)]
    marks = [_reference(axes, *reference)] if reference else []
    rule = tag("line", class_="cursor", x1=0, x2=0, y1=_TOP, y2=HEIGHT - _BOTTOM)
    picture = _svg(title, axes, join(*marks, *lines, rule), _nice((0, steps), 5))
    ends = [f"{min(i + window, steps)}" for i in range(0, steps, window)]
    return tag(
        "figure",
        tag("figcaption", title),
        picture,
        _legend(drawn, ends[-1]),
        class_="chart",
        data_left=_LEFT / WIDTH,
        data_right=1 - _RIGHT / WIDTH,
        data_steps=" ".join(ends),
    )


def point_chart(title: str, points: Sequence[Point], x_label: str, y_label: str) -> Markup:
    """Return a figure of shares (0 to 1) by a whole number, with intervals; dots at the same number stand aside."""
    if not points:
        return empty(title)
    low = _floor([v for p in points for v in (p.y, *(p.interval or ()))])
    values = sorted({p.x for p in points})
    axes = Axes(x_label, y_label, (values[0] - 1, values[-1] + 1), (low, 1))
    beside = {x: [p for p in points if p.x == x] for x in values}
    dots = [_dot(axes, p, beside[p.x].index(p) - (len(beside[p.x]) - 1) / 2) for p in points]
    return tag("figure", tag("figcaption", title), _svg(title, axes, join(*dots), values), class_="chart")


def empty(title: str) -> Markup:
    """Return a figure that says that nothing was measured."""
    return tag("figure", tag("figcaption", title), tag("p", "Not measured.", class_="faint"), class_="chart")


def swatch(style: str) -> Markup:
    """Return a short line in the colour of a series, for legends."""
    line = tag("line", x1=1, x2=19, y1=5, y2=5, class_=f"series {style}")
    return tag("svg", line, viewBox="0 0 20 10", class_="swatch", aria_hidden="true")


def _floor(values: Sequence[float]) -> float:
    """Return where a y axis up to 1 starts: low enough for all values, and for differences of 0.1 to look small."""
    return max(0.0, min(0.8, math.floor(min(values) * 10 - 1e-9) / 10))


def _nice(span: tuple[float, float], wanted: int) -> list[float]:
    """Return about ``wanted`` round ticks in ``span``."""
    width = span[1] - span[0]
    if width <= 0:
        return [span[0]]
    power = 10 ** math.floor(math.log10(width / wanted))
    step = next(m * power for m in (1, 2, 5, 10) if m * power * wanted >= width * 0.999)
    return [round(k * step, 10) for k in range(math.ceil(span[0] / step - 1e-9), math.floor(span[1] / step + 1e-9) + 1)]


def _svg(title: str, axes: Axes, content: Markup, x_ticks: Sequence[float]) -> Markup:
    grid = [_y_tick(axes, y) for y in _nice(axes.y, 5)]
    grid += [_x_tick(axes, x) for x in x_ticks]
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    names = [
        tag("text", axes.x_label, x=middle, y=HEIGHT - 6, text_anchor="middle", class_="axis"),
        tag("text", axes.y_label, transform=f"translate(12 {HEIGHT / 2 - 12:.0f}) rotate(-90)", **_CENTRED),
    ]
    label = f"{title}: {axes.y_label} by {axes.x_label}"
    return tag("svg", join(*grid, *names), content, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label)


_CENTRED = {"text_anchor": "middle", "class_": "axis"}


def _y_tick(axes: Axes, y: float) -> Markup:
    _, v = axes.at(axes.x[0], y)
    line = tag("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=f"{v:.1f}", y2=f"{v:.1f}", class_="grid")
    text = tag("text", f"{y:g}", x=_LEFT - 6, y=f"{v + 4:.1f}", text_anchor="end", class_="tick")
    return join(line, text)


def _x_tick(axes: Axes, x: float) -> Markup:
    u, _ = axes.at(x, axes.y[0])
    return tag("text", f"{x:g}", x=f"{u:.1f}", y=HEIGHT - _BOTTOM + 16, text_anchor="middle", class_="tick")


def _line(axes: Axes, index: int, series: Series, values: Sequence[float | None], centres: Sequence[float]) -> Markup:
    known = measured(values)
    said = f"{series.label}: {known[0]:.3f} first, {known[-1]:.3f} last" if known else series.label
    path, pen_down = [], False
    for step, value in zip(centres, values, strict=False):
        if value is None:
            pen_down = False
            continue
        u, v = axes.at(step, value)
        path.append(f"{'L' if pen_down else 'M'}{u:.1f} {v:.1f}" + ("" if pen_down else "h0"))
        pen_down = True
    return tag("path", tag("title", said), d="".join(path), class_=f"series {series.style}", data_series=index)


def _reference(axes: Axes, name: str, value: float) -> Markup:
    _, v = axes.at(0, value)
    line = tag("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=f"{v:.1f}", y2=f"{v:.1f}", class_="reference")
    return join(line, tag("text", name, x=_LEFT + 6, y=f"{v - 5:.1f}", class_="reference"))


def _dot(axes: Axes, point: Point, aside: float) -> Markup:
    u, v = axes.at(point.x, point.y)
    u += 11 * aside
    said = f"{point.label}: {point.y:.3f}"
    parts = []
    if point.interval is not None:
        (_, low), (_, high) = (axes.at(point.x, y) for y in point.interval)
        said += f" [{point.interval[0]:.3f}, {point.interval[1]:.3f}]"
        parts = [tag("line", x1=f"{u:.1f}", x2=f"{u:.1f}", y1=f"{low:.1f}", y2=f"{high:.1f}", class_="whisker")]
    dot = tag("circle", cx=f"{u:.1f}", cy=f"{v:.1f}", r=5)
    return tag("g", tag("title", said), *parts, dot, class_=f"point {point.style}")


def _legend(drawn: Sequence[tuple[Series, Sequence[float | None]]], last: str) -> Markup:
    """Return the names of the lines with their last values; the script puts those under the pointer there."""
    items = [
        tag(
            "li",
            swatch(series.style),
            tag("span", breakable(series.label), class_="name"),
            tag("output", _text(values[-1] if values else None)),
            data_series=k,
            data_values=" ".join(_text(v) for v in values),
        )
        for k, (series, values) in enumerate(drawn)
    ]
    return join(tag("p", "at step ", tag("output", last), class_="moment"), tag("ul", *items, class_="legend"))


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
