"""The figures of a sweep as charts: results over an axis with the paper's beside them, and curves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from launchers.reporting.chart import Chart, Line, Point, curve_point, in_panels, mean_point
from launchers.reporting.heat_map import HeatMap, heat_map
from launchers.reporting.label_curves import label_curves
from launchers.reporting.results import Sweep
from launchers.reporting.run_result import RunResult
from launchers.reporting.scatter import longtail_figures, scatter
from launchers.reporting.table import named_value, paper_metric_is, result_title, rows
from launchers.sweeps.json_file import is_number
from launchers.sweeps.study import text_of

_ALWAYS = ("loss", "knn_top1")  # every sweep shows these over epochs
_STEPS = ("epoch", "step")
_MOST_POINTS = 150  # of longer curves, neighboring points are averaged


def charts(sweep: Sweep) -> list[Chart | HeatMap]:
    """The figures that sweep.json names, then loss and kNN over epochs; those without points are left out.

    Long-tailed accuracies are drawn over the linear one, where three runs have both.
    """
    wanted = list(sweep.about.get("figures", []))
    drawn = {(figure["x"], figure["y"]) for figure in wanted}
    axis = next((axis for axis in sweep.axes if len(_values(sweep.runs, axis)) > 1), None)
    wanted += [each for each in longtail_figures(sweep, axis) if (each["x"], each["y"]) not in drawn]
    for metric in _ALWAYS:
        if not drawn & {(x, metric) for x in _STEPS}:
            title = f"{result_title(metric)} while training"
            wanted.append({"title": title, "x": "epoch", "y": metric, "series": axis})
    maps = [heat_map(sweep, figure) for figure in wanted if figure.get("kind") == "heat map"]
    wanted = [figure for figure in wanted if figure.get("kind") != "heat map"]
    results = {result for run in sweep.runs for result in run.results} - {*sweep.axes}
    drawn_charts: list[Chart | HeatMap] = [each for each in maps if each]
    for figure in wanted:
        if figure.get("kind"):
            draw = label_curves
        elif figure["x"] in _STEPS:
            draw = curves
        else:
            draw = scatter if figure["x"] in results else over_axis
        drawn_charts += in_panels(draw(sweep, figure))
    return drawn_charts


# --- over an axis -------------------------------------------------------------------------------------------


def over_axis(sweep: Sweep, figure: Mapping[str, Any]) -> Chart:
    """Means over seeds of a result, or of a metric's last value, of finished runs."""
    x_axis, metric, panel_axis = figure["x"], figure["y"], figure.get("series")
    axes = _varied(sweep, beside=x_axis, first=panel_axis)
    lines: dict[tuple[str, ...], dict[Any, list[RunResult]]] = {}
    for run in sweep.runs:
        if x_axis in run.values and _last_value(run, metric) is not None:
            label = (*(named_value(run, axis) for axis in axes), run.data)
            lines.setdefault(label, {}).setdefault(run.values[x_axis], []).append(run)
    drawn = {x for of_x in lines.values() for x in of_x}
    shown = [run.values[x_axis] for run in sweep.runs if run.values.get(x_axis) in drawn]
    position, names, log_x = _positions(shown, bool(figure.get("log_x")))
    return Chart(
        title=str(figure.get("title") or f"{result_title(metric)} over {x_axis}"),
        x_label=x_axis.replace("_", " "),
        y_label=result_title(metric),
        lines=[
            Line(
                label=", ".join(filter(None, label)),
                panel=label[0] if panel_axis else "",
                points=_in_order(_mean(position(x), metric, runs) for x, runs in of_x.items()),
                paper=_in_order(
                    curve_point(position(x), y, 0)
                    for x, runs in of_x.items()
                    for name, y in runs[0].published.items()
                    if paper_metric_is(name, metric)
                ),
            )
            for label, of_x in lines.items()
        ],
        log_x=log_x,
        names=names,
        ticks=tuple(sorted({position(x) for x in shown})),
    )


def _mean(x: float, metric: str, runs: Sequence[RunResult]) -> Point:
    """A mean over seeds; the interval of a fraction ends at 0 and 1."""
    point = mean_point(x, [value for run in runs if (value := _last_value(run, metric)) is not None])
    if re.search(r"top\d|accuracy", metric) and 0 <= point.y <= 1:
        return replace(point, low=max(point.low, 0.0), high=min(point.high, 1.0))
    return point


def _last_value(run: RunResult, metric: str) -> float | None:
    """A result, or a metric's last value, of a finished run."""
    if metric in run.results:
        return run.results[metric]
    return run.last_metrics.get(metric) if run.status == "finished" else None


def _positions(values: Sequence[Any], log_x: bool) -> tuple[Callable[[Any], float], tuple[str, ...], bool]:
    """Position of each value on its axis; the labels if they stand side by side; whether x is logarithmic.

    Values that are not all numbers, or that have no logarithm where one is asked for, stand side by side.
    """
    distinct = list(dict.fromkeys(values))
    if all(map(is_number, distinct)) and not (log_x and min(distinct, default=1) <= 0):
        return float, (), log_x
    if all(is_number(value) or value is None for value in distinct):
        distinct.sort(key=lambda value: (value is not None, value or 0))
    return distinct.index, tuple(map(text_of, distinct)), False


def _varied(sweep: Sweep, beside: str, first: str | None) -> list[str]:
    """``first``, and the axes that have several values where the axis ``beside`` has one."""
    axes = [axis for axis in sweep.axes if axis not in (beside, first)]
    at_one_place: dict[str, list[RunResult]] = {}
    for run in sweep.runs:
        at_one_place.setdefault(text_of(run.values.get(beside)), []).append(run)
    varied = [axis for axis in axes if any(len(_values(runs, axis)) > 1 for runs in at_one_place.values())]
    return ([first] if first else []) + varied


def _values(runs: Sequence[RunResult], axis: str) -> set[str]:
    return {text_of(run.values.get(axis)) for run in runs}


def _in_order(points: Iterable[Point]) -> list[Point]:
    return sorted(points, key=lambda point: point.x)


# --- curves -------------------------------------------------------------------------------------------------


def curves(sweep: Sweep, figure: Mapping[str, Any]) -> Chart:
    """A line per row of the table: the mean over the seeds that came so far, each seed faintly behind."""
    x_axis, metric, panel_axis = figure["x"], figure["y"], figure.get("series")
    lines = []
    for label, runs in rows(sweep).items():
        seeds = [seed for run in runs if (seed := _curve(run, x_axis, metric))]
        if seeds:
            mean = _mean_curve(seeds)
            counts = sorted({point.count for point in mean}, reverse=True)
            told = f" ({' to '.join(map(str, counts[:: max(1, len(counts) - 1)]))} seeds)" * (len(seeds) > 1)
            lines.append(
                Line(
                    label=label + told,
                    panel=named_value(runs[0], panel_axis) if panel_axis else "",
                    points=_thinned(mean),
                    seeds=[_thinned(_mean_curve([seed])) for seed in seeds] if len(seeds) > 1 else [],
                )
            )
    return Chart(
        title=str(figure.get("title") or f"{result_title(metric)} over {x_axis}s"),
        x_label=x_axis,
        y_label=result_title(metric),
        lines=lines,
        log_x=bool(figure.get("log_x")) and all(point.x > 0 for line in lines for point in line.points),
    )


def _curve(run: RunResult, x_axis: str, metric: str) -> dict[float, float]:
    """A metric while training, or an evaluation of each kept checkpoint and of the last, by x."""
    line: dict[float, float] = {}
    for row in run.metrics:
        if is_number(row.get(x_axis)) and is_number(row.get(metric)):
            line[row[x_axis]] = row[metric]
    for evaluation in run.evaluations:
        value, step = evaluation.results.get(metric), evaluation.step
        if step is None and not evaluation.name.checkpoint:
            step = run.steps  # a transfer of the last weights
        x = (step if x_axis == "step" else run.epoch(step)) if step is not None else None
        if x is not None and value is not None:
            line[x] = value
    return line


def _mean_curve(seeds: Sequence[Mapping[float, float]]) -> list[Point]:
    """The mean at each x over the seeds that have a point there, to the end of the longest."""
    points = []
    for x in sorted({x for seed in seeds for x in seed}):
        values = [seed[x] for seed in seeds if x in seed]
        points.append(curve_point(x, sum(values) / len(values), len(values)))
    return points


def _thinned(line: Sequence[Point]) -> list[Point]:
    """At most ``_MOST_POINTS`` points, each the mean of as many neighbors."""
    size = -(-len(line) // _MOST_POINTS)
    thinned = []
    for start in range(0, len(line), size or 1):
        part = line[start : start + size]
        x, y = (sum(getattr(point, name) for point in part) / len(part) for name in ("x", "y"))
        thinned.append(curve_point(x, y, part[-1].count))
    return thinned
