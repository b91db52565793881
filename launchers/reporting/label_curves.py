"""Curves over the number of labels: a task's result, or the utility of pre-training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from launchers.reporting.chart import Chart, Line, Point, mean_point
from launchers.reporting.results import Sweep
from launchers.reporting.table import named_value, result_title
from launchers.reporting.task_results import SCRATCH, TaskResult, task_results
from launchers.reporting.utility import AccuracyCurve, utility_curve
from launchers.sweeps.study import text_of


class _Key(NamedTuple):
    """A line's place among the others."""

    panel: str
    others: tuple[str, ...]
    """Values of further axes that vary."""
    series: str
    mode: str


_Seeds = Mapping[int, AccuracyCurve]


def label_curves(sweep: Sweep, figure: Mapping[str, Any]) -> Chart:
    """A line per value of the figure's series and per mode, each point a mean over seeds with its interval.

    Utility is measured against the runs from scratch of the same panel, which have no line themselves.
    """
    found = list(task_results(sweep, figure))
    curves = _curves(found, sweep.axes, figure)
    several_modes = len({each.mode for each in found} - {SCRATCH}) > 1
    if figure["kind"] == "utility":
        lines = {key: _utilities(key, seeds, curves) for key, seeds in curves.items() if key.mode != SCRATCH}
    else:
        last = sorted(curves, key=lambda key: key.mode == SCRATCH)  # colors are those of the utility chart
        lines = {key: _means(curves[key]) for key in last}
    return Chart(
        title=str(figure.get("title")),
        x_label="labels",
        y_label="utility" if figure["kind"] == "utility" else result_title(figure["y"]),
        lines=[
            Line(label=_label(key, several_modes), panel=key.panel, points=points)
            for key, points in lines.items()
            if points
        ],
        log_x=True,
        ticks=tuple(sorted({point.x for points in lines.values() for point in points})),
        bands=True,
    )


def _curves(
    found: Sequence[TaskResult], axes: Sequence[str], figure: Mapping[str, Any]
) -> dict[_Key, dict[int, dict[int, float]]]:
    """By line and seed: results by the number of labels."""
    series, panel = figure.get("series"), figure.get("panel")
    fixed = {series, panel, *(figure.get("where") or {})}
    others = [
        axis
        for axis in axes
        if axis not in fixed and len({text_of(each.run.values.get(axis)) for each in found}) > 1
    ]
    curves: dict[_Key, dict[int, dict[int, float]]] = {}
    for each in found:
        key = _Key(
            panel=named_value(each.run, panel) if panel else "",
            others=tuple(named_value(each.run, axis) for axis in others),
            series=named_value(each.run, series) if series else "",
            mode=each.mode,
        )
        curves.setdefault(key, {}).setdefault(each.seed, {})[each.labels] = each.value
    return curves


def _label(key: _Key, several_modes: bool) -> str:
    told = key.mode if several_modes and key.mode != SCRATCH else ""
    return ", ".join(filter(None, (key.series, *key.others, told)))


def _means(seeds: _Seeds) -> list[Point]:
    return [
        mean_point(labels, [curve[labels] for curve in seeds.values() if labels in curve])
        for labels in sorted({labels for curve in seeds.values() for labels in curve})
    ]


def _utilities(key: _Key, seeds: _Seeds, curves: Mapping[_Key, _Seeds]) -> list[Point]:
    same = (key.panel, key.others)
    scratch = [own for other, own in curves.items() if other.mode == SCRATCH and other[:2] == same]
    return utility_curve(seeds, scratch[0] if scratch else {})
