"""Curves over epochs or steps: a metric while training, or an evaluation of the kept checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from launchers.reporting.chart import Chart, Point, Series
from launchers.reporting.estimate import number
from launchers.reporting.panels import Line, in_panels
from launchers.reporting.results import RunResult, Sweep, is_number
from launchers.reporting.table import named_value, result_title, rows

_MOST_POINTS = 150  # of longer curves, neighbouring points are averaged
_FEW_POINTS = 12  # that get markers


def curves(sweep: Sweep, figure: Mapping[str, Any]) -> list[Chart]:
    """A line per row of the table: the mean over seeds, each seed faintly behind it."""
    x_axis, metric, panel_axis = figure["x"], figure["y"], figure.get("series")
    lines = []
    for label, runs in rows(sweep).items():
        of_seeds = [line for run in runs if (line := _curve(run, x_axis, metric))]
        if of_seeds:
            panel = named_value(runs[0], panel_axis) if panel_axis else ""
            lines.append(Line(panel, _mean_and_seeds(label, x_axis, of_seeds)))
    if any(len(line.series[-1].points) > 1 for line in lines):  # a single point is no curve
        lines = [line for line in lines if len(line.series[-1].points) > 1]
    points = [point for line in lines for series in line.series for point in series.points]
    chart = Chart(
        title=str(figure.get("title") or f"{result_title(metric)} over {x_axis}s"),
        x_label=x_axis,
        y_label=result_title(metric),
        series=(),
        log_x=bool(figure.get("log_x")) and all(point.x > 0 for point in points),
    )
    return in_panels(chart, lines)


def _mean_and_seeds(label: str, x_axis: str, lines: Sequence[list[tuple[float, float]]]) -> list[Series]:
    mean = _thinned(_mean(lines))
    behind = [Series(label, _points(_thinned(line)), 0, "faint") for line in lines] if len(lines) > 1 else []
    style = "marked" if len(mean) <= _FEW_POINTS else "line"
    return [*behind, Series(label, _points(mean, f"{label}, {x_axis}"), 0, style)]


def _curve(run: RunResult, x_axis: str, metric: str) -> list[tuple[float, float]]:
    """(x, value) of a metric while training, or of an evaluation of each kept checkpoint and of the last."""
    line: dict[float, float] = {}
    for row in run.metrics:
        if is_number(row.get(x_axis)) and is_number(row.get(metric)):
            line[row[x_axis]] = row[metric]
    for evaluation in run.evaluations:
        step, value = evaluation.step, evaluation.results.get(metric)
        x = (step if x_axis == "step" else run.epoch(step)) if step is not None else None
        if x is not None and value is not None:
            line[x] = value
    return sorted(line.items())


def _thinned(line: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most ``_MOST_POINTS`` points, each the mean of as many neighbours."""
    size = -(-len(line) // _MOST_POINTS)
    parts = [line[start : start + size] for start in range(0, len(line), size or 1)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def _mean(lines: Sequence[list[tuple[float, float]]]) -> list[tuple[float, float]]:
    """The mean where every line has a point."""
    tables = [dict(line) for line in lines]
    shared = [x for x, _ in lines[0] if all(x in table for table in tables)]
    return [(x, sum(table[x] for table in tables) / len(tables)) for x in shared]


def _points(line: Sequence[tuple[float, float]], label: str = "") -> list[Point]:
    return [Point(x, y, y, y, f"{label} {x:g}: {number(y)}") for x, y in line]
