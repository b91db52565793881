"""Line charts as SVG: points with error bars over an axis, or curves. Colors are the page's CSS's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from launchers.reporting.estimate import number

WIDTH, HEIGHT = 440, 270  # small enough to be read on a telephone, where it is drawn at three quarters
_TOP, _RIGHT, _BOTTOM = 12, 14, 42
_LETTER = 6.6  # mean width of a letter of the axis labels
_TICKS = 5
_LONGEST = 18  # letters of a name under the axis


@dataclass(frozen=True)
class Point:
    """A value with its interval (low = high = y: none), and what is said when the mouse is on it."""

    x: float
    y: float
    low: float
    high: float
    note: str = ""


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Attributes:
        color: number of its color; series of one color belong to one row of the table.
        style: "marked" (line, markers, error bars), "line", "faint" (one seed of several), "paper".
    """

    label: str
    points: Sequence[Point]
    color: int
    style: str = "marked"


@dataclass(frozen=True)
class Chart:
    """What is drawn.

    Attributes:
        names: labels of x = 0, 1, ... where x is no number; else empty.
        ticks: places of x that must be labeled; empty: round ones.
        y_range: that the axis covers at least; None: what the points take.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False
    names: tuple[str, ...] = ()
    ticks: tuple[float, ...] = ()
    y_range: tuple[float, float] | None = None

    @property
    def over_axis(self) -> bool:
        """Whether its points are means over seeds, and no curves."""
        return bool(self.names or self.ticks)


def draw(chart: Chart) -> str:
    """The chart as an SVG element; "" without points."""
    points = [point for series in chart.series for point in series.points]
    if not points:
        return ""
    low, high = chart.y_range or (min(point.low for point in points), max(point.high for point in points))
    y_ticks = round_ticks(low, high)
    y_labels = tick_labels(y_ticks)
    left = 10 + _LETTER * max(map(len, y_labels))
    values = [*(point.x for point in points), *chart.ticks]
    if chart.names:
        values += [-0.5, len(chart.names) - 0.5]  # a name has its room on both sides
    x_ticks, x_labels = _x_axis(chart, values, WIDTH - left - _RIGHT)
    longest = _LETTER * max(map(len, x_labels))
    slanted = bool(chart.names) and longest + _LETTER > (WIDTH - left - _RIGHT) / len(chart.names)
    if slanted:
        left = max(left, 0.8 * _LETTER * len(x_labels[0]))
    bottom = _BOTTOM + (0.62 * longest if slanted else 0)
    to_x = _Scale(min(values), max(values), left, WIDTH - _RIGHT, chart.log_x, 0.0 if chart.names else 0.04)
    height = HEIGHT + (bottom - _BOTTOM)
    to_y = _Scale(y_ticks[0], y_ticks[-1], height - bottom, _TOP, False, 0)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(chart.title, quote=True)}">',
        *(_grid_line(to_y(tick), label, left) for tick, label in zip(y_ticks, y_labels, strict=True)),
        *(
            _x_tick(to_x(tick), label, height - bottom, slanted)
            for tick, label in zip(x_ticks, x_labels, strict=True)
        ),
        f'<text class="axis" x="{(left + WIDTH - _RIGHT) / 2:.1f}" y="{height - 5:.1f}" '
        f'text-anchor="middle">{escape(chart.x_label)}</text>',
        *(
            _series(series, to_x, to_y, shift)
            for series, shift in zip(chart.series, _shifts(chart), strict=True)
        ),
        "</svg>",
    ]
    return "\n".join(parts)


class _Scale:
    """From values to places: linear, or logarithmic."""

    def __init__(self, low: float, high: float, start: float, stop: float, log: bool, margin: float) -> None:
        self._log = log
        low, high = self._value(low), self._value(high)
        if high == low:
            low, high = low - 1, high + 1
        spread = (high - low) * margin
        self._low, self._high, self._start, self._stop = low - spread, high + spread, start, stop

    def _value(self, value: float) -> float:
        return math.log10(value) if self._log else value

    def __call__(self, value: float) -> float:
        share = (self._value(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._stop - self._start)


def round_ticks(low: float, high: float) -> list[float]:
    """Three to about seven round numbers, the first at most ``low`` and the last at least ``high``."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        room = abs(low) * 0.1 or 1.0
        low, high = low - room, high + room
    rough = (high - low) / (_TICKS - 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    return [count * step for count in range(first, last + 1)]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Labels with as many decimals as the step between the ticks needs."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    decimals = next(count for count in range(13) if abs(round(step, count) - step) < 1e-6 * abs(step))
    return [f"{tick if abs(tick) > step / 1e6 else 0:,.{decimals}f}" for tick in ticks]


def _x_axis(chart: Chart, values: Sequence[float], room: float) -> tuple[list[float], list[str]]:
    """Places and labels of x; each of ``chart.ticks`` where they do not crowd."""
    if chart.names:
        return [float(place) for place in range(len(chart.names))], list(map(_short, chart.names))
    if chart.ticks and (chart.log_x or len(chart.ticks) <= _TICKS + 2):
        labels = [f"{tick:g}" if abs(tick) < 1e6 else number(tick) for tick in chart.ticks]
        scale = _Scale(min(values), max(values), 0, room, chart.log_x, 0.04)
        kept, end = [], -math.inf
        for tick, label in zip(chart.ticks, labels, strict=True):
            half = _LETTER * (len(label) + 1) / 2
            if scale(tick) - half >= end:
                kept.append((tick, label))
                end = scale(tick) + half
        return [tick for tick, _ in kept], [label for _, label in kept]
    low, high = min(values), max(values)
    ticks = [tick for tick in round_ticks(low, high) if low <= tick <= high] or [low]
    return ticks, tick_labels(ticks)


def _short(name: str) -> str:
    """A long name without its middle; the whole one is said when the mouse is on a point."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}…{name[1 - _LONGEST // 2 :]}"


def _grid_line(y: float, label: str, left: float) -> str:
    line = f'<line class="grid" x1="{left:.1f}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{line}<text class="axis" x="{left - 5:.1f}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'


def _x_tick(x: float, label: str, y: float, slanted: bool) -> str:
    mark = f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{y:.1f}" y2="{y + 4:.1f}"/>'
    place = f'x="{x:.1f}" y="{y + 19:.1f}" text-anchor="middle"'
    if slanted:
        place = f'x="{x:.1f}" y="{y + 13:.1f}" text-anchor="end" transform="rotate(-38 {x:.1f} {y + 13:.1f})"'
    return f'{mark}<text class="axis" {place}>{escape(label)}</text>'


def _shifts(chart: Chart) -> list[float]:
    """How far each series stands beside its place, so that error bars at one x do not cover each other."""
    last = max(series.color for series in chart.series)
    gap = min(5.0, 16 / last) if chart.over_axis and last else 0.0
    return [gap * (series.color - last / 2) for series in chart.series]


def _series(series: Series, to_x: _Scale, to_y: _Scale, shift: float) -> str:
    places = [(to_x(point.x) + shift, to_y(point.y)) for point in series.points]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    parts = [f'<g class="{series.style} c{series.color}"><path d="{path}"/>']
    if series.style == "line":
        parts.append(f"<title>{escape(series.label)}</title>")
    if series.style in ("marked", "paper"):
        for point, (x, y) in zip(series.points, places, strict=True):
            note = f"<title>{escape(point.note)}</title>"
            bar = _error_bar(x, to_y(point.low), to_y(point.high)) if point.high > point.low else ""
            parts.append(f"<g>{note}{bar}{marker(series.color, x, y)}</g>")
    return "".join([*parts, "</g>"])


def _error_bar(x: float, low: float, high: float) -> str:
    caps = "".join(f"M{x - 4:.1f} {y:.1f}h8" for y in (low, high))
    return f'<path class="bar" d="M{x:.1f} {low:.1f}V{high:.1f}{caps}"/>'


def marker(color: int, x: float, y: float) -> str:
    """A small shape, another one for neighbouring colors: circle, square, triangle, diamond."""
    shapes = (
        "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
        "m-3.6 -3.6h7.2v7.2h-7.2z",
        "m0 -4.8l4.6 8.2h-9.2z",
        "m0 -5l5 5l-5 5l-5 -5z",
    )
    return f'<path class="mark" d="M{x:.1f} {y:.1f}{shapes[color % len(shapes)]}"/>'
