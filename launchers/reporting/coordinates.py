"""Parallel coordinates as SVG: an upright axis per field, a line per trial through its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from launchers.reporting.chart import GRID, INK, LINE_COLORS, Chart, svg_figure

_HEIGHT = 270
_LOOKS: dict[str, dict[str, Any]] = {
    "paused": {"color": INK, "lw": 1, "alpha": 0.35},
    "finished": {"color": LINE_COLORS[0], "lw": 1.4},
    "best": {"color": LINE_COLORS[1], "lw": 2.6},
}


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One of the upright axes."""

    name: str
    marks: Sequence[tuple[float, str]]
    """Labels beside it, at heights from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Polyline:
    """A trial: its height on each axis, from 0 to 1."""

    heights: Sequence[float]
    look: Literal["paused", "finished", "best"] = "paused"


@dataclass(frozen=True, kw_only=True)
class Coordinates(Chart):
    """Trials over several axes; of a chart's own parts the titles alone are used."""

    axes: Sequence[Axis]
    polylines: Sequence[Polyline]


def coordinates_svg(chart: Coordinates) -> str:
    """The chart as an SVG element whose colors are variables of the page's style."""
    with svg_figure(_HEIGHT) as (figure, svg):
        axes = figure.add_subplot()
        axes.spines[:].set_visible(False)
        axes.set_yticks([])
        axes.set_ylim(-0.06, 1.06)
        axes.set_xlim(-0.15, len(chart.axes) - 0.45)
        axes.set_xticks(range(len(chart.axes)), [axis.name for axis in chart.axes])
        axes.tick_params(axis="x", length=0)
        for polyline in sorted(chart.polylines, key=lambda each: [*_LOOKS].index(each.look)):
            axes.plot(range(len(chart.axes)), polyline.heights, **_LOOKS[polyline.look])
        for place, axis in enumerate(chart.axes):
            axes.axvline(place, color=GRID, lw=1.5, zorder=0)
            for height, text in axis.marks:
                axes.text(place + 0.03, height, text, va="center", fontsize=10)
        return svg()
