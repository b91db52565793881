"""The study's figures as charts: results over an axis with the paper's points beside them, and curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launchers.reporting.chart import Chart, Point, Series
from launchers.reporting.curves import curves
from launchers.reporting.estimate import estimate, number
from launchers.reporting.panels import Line, in_panels
from launchers.reporting.results import RunResult, Sweep, is_number
from launchers.reporting.table import named_value, paper_metric_is, result_title
from launchers.sweeps.study import text_of

_ALWAYS = ("loss", "knn_top1")  # every sweep shows these over epochs
_STEPS = ("epoch", "step")


def charts(sweep: Sweep) -> list[Chart]:
    """The figures that sweep.json names, then loss and kNN over epochs; those without points are left out."""
    wanted = [figure for figure in sweep.about.get("figures", []) if {"x", "y"} <= figure.keys()]
    drawn = {(figure["x"], figure["y"]) for figure in wanted}
    for metric in _ALWAYS:
        if not drawn & {(x, metric) for x in _STEPS}:
            axis = next((axis for axis in sweep.axes if len(_values(sweep.runs, axis)) > 1), None)
            title = f"{result_title(metric)} while training"
            wanted.append({"title": title, "x": "epoch", "y": metric, "series": axis})
    made = [curves if figure["x"] in _STEPS else _over_axis for figure in wanted]
    return [chart for draw, figure in zip(made, wanted, strict=True) for chart in draw(sweep, figure)]


def _over_axis(sweep: Sweep, figure: Mapping[str, Any]) -> list[Chart]:
    """Means over seeds of a result, or of a metric's last value, of finished runs."""
    x_axis, metric, panel_axis = figure["x"], figure["y"], figure.get("series")
    axes = _varied(sweep, beside=x_axis, first=panel_axis)
    rows: dict[tuple[str, ...], dict[Any, list[RunResult]]] = {}
    for run in sweep.runs:
        if x_axis in run.values and _last_value(run, metric) is not None:
            label = (*(named_value(run, axis) for axis in axes), run.data)
            rows.setdefault(label, {}).setdefault(run.values[x_axis], []).append(run)
    if any(len(of_x) > 1 for of_x in rows.values()):  # single points say nothing of x: the table has them
        rows = {label: of_x for label, of_x in rows.items() if len(of_x) > 1}
    shown = {x for of_x in rows.values() for x in of_x}
    in_order = [run.values[x_axis] for run in sweep.runs if run.values.get(x_axis) in shown]
    place, names, log_x = _places(in_order, bool(figure.get("log_x")))
    lines = [
        Line(
            panel=label[0] if panel_axis else "",
            series=_ours_and_theirs(sweep, figure, ", ".join(filter(None, label)), of_x, place),
        )
        for label, of_x in rows.items()
    ]
    chart = Chart(
        title=str(figure.get("title") or f"{result_title(metric)} over {x_axis}"),
        x_label=x_axis.replace("_", " "),
        y_label=result_title(metric),
        series=(),
        log_x=log_x,
        names=names,
        ticks=() if names else tuple(sorted({place(x) for x in shown})),
    )
    return in_panels(chart, lines)


def _ours_and_theirs(
    sweep: Sweep,
    figure: Mapping[str, Any],
    label: str,
    runs: Mapping[Any, Sequence[RunResult]],
    place: Callable[[Any], float],
) -> list[Series]:
    """A line of our means over seeds, and one of the paper's numbers where it has any."""
    metric = figure["y"]
    ours, theirs = [], []
    for x, of_x in runs.items():
        values = [value for run in of_x if (value := _last_value(run, metric)) is not None]
        mean = estimate(values)
        where = ", ".join(filter(None, (label, named_value(of_x[0], figure["x"]))))
        seeds = "1 seed" if mean.count == 1 else f"{mean.count} seeds"
        ours.append(Point(place(x), mean.mean, mean.low, mean.high, f"{where}: {mean} ({seeds})"))
        paper = of_x[0].paper if sweep.at_paper_scale else None
        y = next((y for name, y in of_x[0].published.items() if paper_metric_is(name, metric)), None)
        if paper and y is not None:
            theirs.append(Point(place(x), y, y, y, f"{where}, {paper['place']}: {number(y)}"))
    series = [Series(label or ("ours" if theirs else ""), _in_order(ours), 0)]
    if theirs:
        series.append(Series(f"{label}, paper" if label else "paper", _in_order(theirs), 0, "paper"))
    return series


def _last_value(run: RunResult, metric: str) -> float | None:
    """A result, or a metric's last value, of a finished run."""
    if metric in run.results:
        return run.results[metric]
    if run.status != "finished":
        return None
    return next((row[metric] for row in reversed(run.metrics) if is_number(row.get(metric))), None)


def _places(values: Sequence[Any], log_x: bool) -> tuple[Callable[[Any], float], tuple[str, ...], bool]:
    """Where the values of an axis stand; the labels if they stand side by side; whether x is logarithmic.

    Values that are not all numbers, or that have no logarithm where one is asked for, stand side by side.
    """
    distinct = list(dict.fromkeys(values))
    if all(is_number(value) for value in distinct) and not (log_x and min(distinct, default=1) <= 0):
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


def _in_order(points: list[Point]) -> list[Point]:
    return sorted(points, key=lambda point: point.x)
