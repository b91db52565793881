"""A figure of many lines in several charts side by side, each with few: the same axes, other runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from launchers.reporting.chart import Chart, Series

MOST_LINES = 8  # that one chart shows and a reader tells apart


@dataclass(frozen=True)
class Line:
    """What is drawn in one color: a row's mean, its seeds behind it, the paper's numbers beside it.

    Attributes:
        panel: what the charts are named after, if there is one for each value of an axis; "" if not.
    """

    panel: str
    series: Sequence[Series]


def in_panels(chart: Chart, lines: Sequence[Line]) -> list[Chart]:
    """The chart with its lines; where these are too many, one for each panel, with the same scale of y.

    Panels of hardly more than one line would tear apart what is to be compared: then all stay together.
    """
    if not lines:
        return []
    panels = list(dict.fromkeys(line.panel for line in lines))
    if len(lines) <= MOST_LINES or len(panels) == 1 or len(lines) < 2 * len(panels):
        return [dataclasses.replace(chart, series=_colored(lines))]
    points = [point for line in lines for series in line.series for point in series.points]
    y_range = min(point.low for point in points), max(point.high for point in points)
    return [
        dataclasses.replace(
            chart,
            title=f"{chart.title}: {panel}",
            series=_colored([line for line in lines if line.panel == panel]),
            y_range=y_range,
        )
        for panel in panels
    ]


def _colored(lines: Sequence[Line]) -> list[Series]:
    return [
        dataclasses.replace(series, color=color) for color, line in enumerate(lines) for series in line.series
    ]
