"""Sections of a report on a search: the trials, parallel coordinates, the metric trial by trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from launchers.reporting.chart import Chart, Line, curve_point
from launchers.reporting.coordinates import Axis, Coordinates, Polyline
from launchers.reporting.table import Cell, Link, Table
from launchers.reporting.text import Section
from launchers.searching.folder import SearchFolder
from launchers.searching.space import Dimension, dimension_of
from launchers.sweeps.json_file import is_number, read_object
from launchers.sweeps.study import text_of
from pipelines.command.errors import UserError

_FEW = 8  # choices whose names an axis has room for


def search_sections(path: Path) -> list[Section]:
    """The sections of a search folder.

    Raises:
        UserError: its search.json is damaged.
    """
    folder = SearchFolder(path)
    found = read_object(folder.search, "put it back, or search again")
    try:
        space = [dimension_of(name, text) for name, text in found["space"].items()]
        metric, rows, best = str(found["metric"]), list(found["table"]), found.get("best")
        rungs = ", ".join(f"{epoch:g}" for epoch in found["rungs"])
        table = _table(rows, space, metric, best)
        charts = [_coordinates(rows, space, metric, best), _progress(rows, metric, bool(found["minimize"]))]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder.search} is damaged ({error!r}): put it back, or search again") from None
    before = [
        f"Trials are compared at epoch {rungs}; one of {found.get('reduction')} goes on, the others are "
        f"paused. {metric} is that of a trial's last comparison."
    ]
    if (settings := found.get("measure")) is not None:
        where = found.get("eval_data") or "the images of the training"
        options = " ".join(settings) or "its defaults"
        before.append(f"It is measured at each comparison, with {options}, on {where}.")
    if best:
        before.append(f"Best so far: {best}; python -m fastssl.train {folder.best} trains it anew.")
    after = ["Orange: the best trial; blue: trained to the end; gray: the others."]
    return [Section("Search", before, table, [each for each in charts if each is not None], after)]


def _table(rows: Sequence[Mapping[str, Any]], space: Sequence[Dimension], metric: str, best: Any) -> Table:
    head = ["trial", *(each.axis.replace("_", " ") for each in space), "epoch", metric, "state"]
    lines: list[list[Cell]] = []
    for row in rows:
        name = row["trial"]
        link: Cell = (Link(f"{name}{' (best)' * (name == best)}", f"runs/{name}"),)
        values = [text_of(row["values"][each.path]) for each in space]
        state = f"{row['state']}: {row['error']}" if row.get("error") else str(row["state"])
        numbers = [f"{row[key]:.4g}" if is_number(row[key]) else "" for key in ("epoch", "metric")]
        lines.append([link, *values, *numbers, state])
    return Table(head, lines, frozenset(range(1, len(head) - 1)))


def _coordinates(
    rows: Sequence[Mapping[str, Any]], space: Sequence[Dimension], metric: str, best: Any
) -> Chart | None:
    measured = [row for row in rows if is_number(row["metric"])]
    if not measured:
        return None
    low, high = (bound(row["metric"] for row in measured) for bound in (min, max))
    width = (high - low) or 1.0
    polylines = [
        Polyline(
            heights=[
                *(each.share(row["values"][each.path]) for each in space),
                (row["metric"] - low) / width,
            ],
            look="best" if row["trial"] == best else "finished" if row["state"] == "finished" else "paused",
        )
        for row in measured
    ]
    marks = [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")] if high > low else [(0.0, f"{low:.3g}")]
    axes = [*(Axis(name=each.axis.replace("_", " "), marks=_marks(each)) for each in space)]
    return Coordinates(
        title="Trials in parallel coordinates",
        x_label="",
        y_label="each line is a trial",
        lines=(),
        axes=[*axes, Axis(name=metric.replace("_", " "), marks=marks)],
        polylines=polylines,
    )


def _marks(dimension: Dimension) -> list[tuple[float, str]]:
    if dimension.scale is None:
        shown = dimension.choices if len(dimension.choices) <= _FEW else (dimension.choices[0],)
        return [(dimension.share(choice), text_of(choice)) for choice in shown]
    return [(0.0, f"{dimension.low:g}"), (1.0, f"{dimension.high:g}")]


def _progress(rows: Sequence[Mapping[str, Any]], metric: str, minimize: bool) -> Chart | None:
    """The metric of each trial, in the order in which they were drawn, and the best until then."""
    points, so_far = [], []
    better: Callable[[float, float], float] = min if minimize else max
    best = math.inf if minimize else -math.inf
    for index, row in enumerate(rows):
        if is_number(row["metric"]):
            value = float(row["metric"])
            best = better(best, value)
            points.append(curve_point(index, value))
            so_far.append(curve_point(index, best))
    if not points:
        return None
    return Chart(
        title=f"{metric} over trials",
        x_label="trial",
        y_label=f"{metric}; line: best so far",
        lines=[Line(label="", points=points, fit=so_far)],
        scatter=True,
    )
