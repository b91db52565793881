"""One result over another, a point per run, and regression lines (Huang et al., 2022, figure 4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from launchers.reporting.chart import Chart, Line, Point
from launchers.reporting.regression import regression
from launchers.reporting.results import Sweep
from launchers.reporting.table import named_value, result_title

_FEWEST = 3  # runs with both results
_X = "linear.top1"


def longtail_figures(sweep: Sweep, series: str | None) -> Iterator[dict[str, Any]]:
    """A figure per long-tailed accuracy, over the linear accuracy on the run's images where there is one."""
    found = dict.fromkeys(result for run in sweep.runs for result in run.results)
    linear = sorted(result for result in found if result.partition("@")[0] == _X)
    for result in sorted(found):
        if result.startswith("longtail.top1") and linear:
            both = [run for run in sweep.runs if run.results.keys() >= {linear[0], result}]
            if len(both) >= _FEWEST:
                title = f"{result_title(result)} over {result_title(linear[0])}"
                yield {"title": title, "x": linear[0], "y": result, "series": series}


def scatter(sweep: Sweep, figure: Mapping[str, Any]) -> Chart:
    """The runs that have both results; a line and its 95 % band for each series of three and more."""
    x_name, y_name, series = figure["x"], figure["y"], figure.get("series")
    points: dict[str, list[Point]] = {}
    for run in sweep.runs:
        if x_name in run.results and y_name in run.results:
            x, y = run.results[x_name], run.results[y_name]
            label = named_value(run, series) if series else ""
            points.setdefault(label, []).append(Point(x=x, y=y, low=y, high=y))
    return Chart(
        title=str(figure.get("title") or f"{result_title(y_name)} over {result_title(x_name)}"),
        x_label=result_title(x_name),
        y_label=result_title(y_name),
        lines=[_line(label, sorted(own, key=lambda point: point.x)) for label, own in points.items()],
        scatter=True,
    )


def _line(label: str, points: list[Point]) -> Line:
    found = regression([point.x for point in points], [point.y for point in points])
    if found is None:
        return Line(label=label, points=points)
    ends = zip(found.x, found.y, found.half, strict=True)
    fit = [Point(x=float(x), y=float(y), low=float(y - half), high=float(y + half)) for x, y, half in ends]
    return Line(label=f"{label or 'all'} (slope {found.slope:.3g})", points=points, fit=fit)
