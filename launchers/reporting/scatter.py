"""One result over another, a point per run, and regression lines (Huang et al., 2022, figure 4)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from launchers.reporting.chart import Chart, Line, Point, curve_point
from launchers.reporting.estimate import CONFIDENCE
from launchers.reporting.results import Sweep
from launchers.reporting.table import named_value, result_title

_FEWEST = 3  # runs with both results
_X = "linear.top1"
_STEPS = 40  # places at which a band is drawn


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
            label = named_value(run, series) if series else ""
            points.setdefault(label, []).append(curve_point(run.results[x_name], run.results[y_name]))
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
    slope, fit = found
    return Line(label=f"{label or 'all'} (slope {slope:.3g})", points=points, fit=fit)


def regression(x: Sequence[float], y: Sequence[float]) -> tuple[float, list[Point]] | None:
    """Slope and points of a line by ordinary least squares; None of fewer than three points, or of equal x.

    Low to high is the 95 % confidence band of the mean, t s sqrt(1/n + (x - mean)^2 / S_xx), s^2 the sum of
    squares of the residuals over n - 2 (Draper, Smith, "Applied regression analysis").
    """
    count, xs, ys = len(x), np.asarray(x, np.float64), np.asarray(y, np.float64)
    spread = float(np.square(xs - xs.mean()).sum()) if count else 0.0
    if count < 3 or spread == 0:
        return None
    slope = float((xs - xs.mean()) @ (ys - ys.mean())) / spread
    intercept = float(ys.mean()) - slope * float(xs.mean())
    deviation = math.sqrt(np.square(ys - intercept - slope * xs).sum() / (count - 2))
    t = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 2))
    points = []
    for place in np.linspace(xs.min(), xs.max(), _STEPS).tolist():
        mean = intercept + slope * place
        half = t * deviation * math.sqrt(1 / count + (place - float(xs.mean())) ** 2 / spread)
        points.append(Point(x=place, y=mean, low=mean - half, high=mean + half))
    return slope, points
