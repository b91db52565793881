"""Charts as SVG, drawn by matplotlib: means with error bars over an axis, curves, or points with a line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from matplotlib.transforms import offset_copy

from launchers.reporting.estimate import estimate, number

MOST_LINES = 8  # that one chart shows and a reader tells apart
MARKERS = "os^Dv*<>"
FULL, HOLLOW = "●■▲◆▼★◀▶", "○□△◇▽☆◁▷"  # the markers in a legend
_WIDTH, _HEIGHT = 440, 270  # of the SVG's units, which are points: text of 12 can be read on a telephone
_LETTER = 7.5  # mean width of a letter
_FEW_POINTS = 12  # of a curve, that get markers
_LONGEST = 18  # letters of a name under the axis
LINE_COLORS = ("#1f6fb4", "#c8560a", "#23843a", "#7d49c0", "#c22f56", "#0b8585", "#86581f", "#59636e")
INK, GRID = "#59636d", "#d9dee3"
_VARIABLES = {  # of the page's style, which has another set for dark screens
    **{color: f"var(--c{index})" for index, color in enumerate(LINE_COLORS)},
    INK: "var(--soft)",
    GRID: "var(--line)",
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fastssl",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.size": 12,
    "axes.edgecolor": GRID,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": False,
}


Bound = Literal["", "lower", "upper"]
"""lower: the number is above the one given; upper: below it."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A mean over seeds with its interval, or a point of a curve (low = high = y)."""

    x: float
    y: float
    low: float
    high: float
    count: int = 1
    """Seeds; 0 of a paper's number."""
    bound: Bound = ""


def curve_point(x: float, y: float, count: int = 1) -> Point:
    """A point without an interval."""
    return Point(x=x, y=y, low=y, high=y, count=count)


def mean_point(x: float, values: Sequence[float]) -> Point:
    """The mean over seeds at ``x``; see ``launchers.reporting.estimate``."""
    found = estimate(values)
    return Point(x=x, y=found.mean, low=found.low, high=found.high, count=found.count)


@dataclass(frozen=True, kw_only=True)
class Line:
    """All that is drawn in one color: a row's means, each of its seeds, the paper's numbers."""

    label: str
    points: Sequence[Point]
    panel: str = ""
    """Name of the chart that it goes to where one cannot show all lines."""
    seeds: Sequence[Sequence[Point]] = ()
    paper: Sequence[Point] = ()
    fit: Sequence[Point] = ()
    """Regression line of a scatter, low to high its band."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines over one axis."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    log_x: bool = False
    names: tuple[str, ...] = ()
    """Labels of x = 0, 1, ... where x is no number; else empty."""
    ticks: tuple[float, ...] = ()
    """Values of x that are labeled; empty for curves."""
    y_range: tuple[float, float] | None = None
    """Values that the y axis covers at least; None: those of the points."""
    scatter: bool = False
    """Points that no line joins, with their regression lines."""
    bands: bool = False
    """Intervals are bands along the lines, not bars."""


def in_panels(chart: Chart) -> list[Chart]:
    """The chart; where its lines are too many, one for each panel, with the same scale of y.

    Panels of hardly more than one line would tear apart what is to be compared: then all stay together.
    """
    panels = list(dict.fromkeys(line.panel for line in chart.lines))
    few = len(chart.lines) <= MOST_LINES or len(panels) == 1 or len(chart.lines) < 2 * len(panels)
    if few:
        return [chart] if chart.lines else []
    points = [
        point for line in chart.lines for each in (line.points, line.paper, *line.seeds) for point in each
    ]
    y_range = min(point.low for point in points), max(point.high for point in points)
    of_panel = {panel: [line for line in chart.lines if line.panel == panel] for panel in panels}
    return [
        dataclasses.replace(chart, title=f"{chart.title}: {panel}", lines=lines, y_range=y_range)
        for panel, lines in of_panel.items()
    ]


def legend(chart: Chart) -> list[tuple[str, int, str]]:
    """Marker, color and text of each line with a label."""
    entries = []
    for index, line in enumerate(chart.lines):
        mark, color = index % len(MARKERS), index % len(LINE_COLORS)
        paper = f"{line.label}, paper" if line.label else "paper"
        entries += [(FULL[mark], color, line.label or "ours")] if line.label or line.paper else []
        entries += [(HOLLOW[mark], color, paper)] if line.paper else []
    return entries


def as_svg(chart: Chart) -> str:
    """The chart as an SVG element whose colors are variables of the page's style."""
    with svg_figure(_HEIGHT) as (figure, svg):
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=GRID)
        axes.set_axisbelow(True)
        for index, line in enumerate(chart.lines):
            _draw_line(figure, axes, chart, line, index)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if chart.y_range:
            low, high = chart.y_range
            room = 0.05 * (high - low or abs(high) or 1)
            axes.set_ylim(low - room, high + room)
        axes.set_xlabel(chart.x_label)
        _draw_x_axis(axes, chart)
        return svg()


@contextlib.contextmanager
def svg_figure(height: float) -> Iterator[tuple[Figure, Callable[[], str]]]:
    """An empty figure in the page's style, ``height`` units high, and what makes an SVG element of it."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH / 72, height / 72), layout="constrained")
        yield figure, lambda: _svg(figure)


def _svg(figure: Figure) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = re.sub(r"<metadata>.*?</metadata>|<\?xml.*?\?>|<!DOCTYPE.*?>", "", file.getvalue(), flags=re.S)
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1">', svg.strip())
    return re.sub("#[0-9a-f]{6}", lambda found: _VARIABLES.get(found[0], found[0]), svg)


def _draw_line(figure: Figure, axes: Any, chart: Chart, line: Line, index: int) -> None:
    color, marker = LINE_COLORS[index % len(LINE_COLORS)], MARKERS[index % len(MARKERS)]
    look: dict[str, Any] = {"color": color, "marker": marker, "markersize": 6}
    for seed in line.seeds:
        axes.plot([point.x for point in seed], [point.y for point in seed], color=color, lw=1, alpha=0.35)
    x, y = [point.x for point in line.points], [point.y for point in line.points]
    if chart.bands:
        _draw_band(axes, line, look)
        return
    bars = [[point.y - point.low for point in line.points], [point.high - point.y for point in line.points]]
    dashes = "-" if index < len(LINE_COLORS) else (0, (7, 2))
    if chart.scatter:
        axes.plot(x, y, ls="", **look)
        line_x, band = [point.x for point in line.fit], [(point.low, point.high) for point in line.fit]
        axes.plot(line_x, [point.y for point in line.fit], lw=1.8, ls=dashes, color=color)
        if band:
            axes.fill_between(line_x, *zip(*band, strict=True), color=color, alpha=0.18, lw=0)
        return
    if not chart.ticks:
        axes.plot(x, y, lw=1.8, ls=dashes, **(look if len(x) <= _FEW_POINTS else {"color": color}))
        return
    drawn = list(axes.errorbar(x, y, bars, lw=1.8, ls=dashes, capsize=4, **look).get_children())
    if line.paper:
        points = [point.x for point in line.paper], [point.y for point in line.paper]
        drawn += axes.plot(*points, lw=1.2, ls="--", markerfacecolor="none", **look)
    shift = min(5.0, 16 / len(chart.lines)) * (index - (len(chart.lines) - 1) / 2)
    for artist in drawn:  # beside each other, so that bars do not cover each other
        artist.set_transform(offset_copy(axes.transData, fig=figure, x=shift, units="points"))


def _draw_band(axes: Any, line: Line, look: dict[str, Any]) -> None:
    """Means and the band of their intervals; a bound has an open marker, and an arrow towards the number."""
    x, y = [point.x for point in line.points], [point.y for point in line.points]
    color = look["color"]
    axes.plot(x, y, lw=1.8, color=color)
    ends = [point.low for point in line.points], [point.high for point in line.points]
    axes.fill_between(x, *ends, color=color, alpha=0.18, lw=0)
    axes.margins(y=0.12)  # room for arrows
    for point in line.points:
        face = {"markerfacecolor": "none"} if point.bound else {}
        axes.plot([point.x], [point.y], ls="", **look, **face)
        if point.bound:
            axes.annotate(
                "",
                xy=(point.x, point.y),
                xytext=(0, 20 if point.bound == "lower" else -20),
                textcoords="offset points",
                arrowprops={"arrowstyle": "<-", "color": color},
            )


def _draw_x_axis(axes: Any, chart: Chart) -> None:
    """Ticks at the values themselves; names, and labels that would touch, are slanted or left out."""
    axes.set_xscale("log" if chart.log_x else "linear")
    room = 0.8 * _WIDTH
    if chart.names:
        labels = [_short(name) for name in chart.names]
        slanted = (max(map(len, labels)) + 1) * _LETTER > room / len(labels)
        look: dict[str, Any] = {"rotation": 38, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
        axes.set_xticks(range(len(labels)), labels, **look)
        axes.set_xlim(-0.5, len(labels) - 0.5)
    elif chart.ticks and (chart.log_x or len(chart.ticks) <= 6):
        scale = axes.transScale.transform
        positions = [scale((tick, 1))[0] for tick in chart.ticks]
        unit = room / ((positions[-1] - positions[0]) or 1)
        kept, end = [], float("-inf")
        for tick, position in zip(chart.ticks, positions, strict=True):
            half = _LETTER * (len(_tick_label(tick)) + 1) / 2
            if position * unit - half >= end:
                kept.append(tick)
                end = position * unit + half
        axes.xaxis.set_major_locator(FixedLocator(kept))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(kept, [_tick_label(tick) for tick in kept])
    elif not chart.log_x:
        whole = not chart.ticks and not chart.scatter  # epochs and steps
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=whole))


def _tick_label(tick: float) -> str:
    return f"{tick:g}" if abs(tick) < 1e6 else number(tick)


def _short(name: str) -> str:
    """A long name without its middle; the table of numbers has the whole one."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}…{name[1 - _LONGEST // 2 :]}"
