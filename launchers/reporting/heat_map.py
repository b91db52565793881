"""A heat map: a result by the images that an encoder was trained on and those of its task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from launchers.reporting.chart import svg_figure
from launchers.reporting.results import Sweep
from launchers.reporting.table import result_title
from launchers.reporting.task_results import TaskResult, task_results
from launchers.sweeps.study import text_of

_HEIGHT = 400
_DARK = 0.6  # share of the largest change, from which on a cell is dark
_ON_LIGHT, _ON_DARK = "#1c2126", "#ffffff"


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Changes of a result in percent, against the encoders that were trained on the task's own images."""

    title: str
    y_label: str
    rows: tuple[str, ...]
    """Images of the training."""
    columns: tuple[str, ...]
    """Images of the task."""
    cells: Sequence[Sequence[float | None]]
    """[rows][columns]; None: not complete."""


def heat_map(sweep: Sweep, figure: Mapping[str, Any]) -> HeatMap | None:
    """Mean change over label counts and seeds; None where no cell has all label counts of the sweep.

    The change is a difference at the same number of labels and the same seed.
    """
    found = [each for each in task_results(sweep, figure) if each.images]
    values = {(_trained_on(each, figure), each.images, each.labels, each.seed): each.value for each in found}
    rows = tuple(dict.fromkeys(_trained_on(each, figure) for each in found))
    names = sorted({each.images for each in found})
    columns = (*(name for name in rows if name in names), *(name for name in names if name not in rows))
    counts = {each.labels for each in found}
    cells = [[_change(values, row, column, counts) for column in columns] for row in rows]
    if all(cell is None for line in cells for cell in line):
        return None
    return HeatMap(
        title=str(figure.get("title")),
        y_label=f"{result_title(figure['y'])}, %, minus that of training on the task's images",
        rows=rows,
        columns=columns,
        cells=cells,
    )


def _trained_on(result: TaskResult, figure: Mapping[str, Any]) -> str:
    return text_of(result.run.values.get(figure["series"]))


def _change(
    values: Mapping[tuple[str, str, int, int], float], row: str, column: str, counts: set[int]
) -> float | None:
    changes = {
        (labels, seed): 100 * (value - values[column, column, labels, seed])
        for (trained, images, labels, seed), value in values.items()
        if (trained, images) == (row, column) and (column, column, labels, seed) in values
    }
    return fmean(changes.values()) if {labels for labels, _ in changes} == counts else None


def heat_map_svg(chart: HeatMap) -> str:
    """The map as an SVG element: red falls, blue rises."""
    known = [abs(cell) for line in chart.cells for cell in line if cell is not None]
    most = max(known, default=0) or 1
    with svg_figure(_HEIGHT) as (figure, svg):
        axes = figure.add_subplot()
        filled = [[float("nan") if cell is None else cell for cell in line] for line in chart.cells]
        axes.pcolormesh(filled, cmap="RdBu", vmin=-most, vmax=most)
        for row, line in enumerate(chart.cells):
            for column, cell in enumerate(line):
                if cell is not None:
                    color = _ON_DARK if abs(cell) > _DARK * most else _ON_LIGHT
                    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "color": color}
                    axes.text(column + 0.5, row + 0.5, f"{cell:.1f}", **look)
        axes.set_xticks(
            [column + 0.5 for column in range(len(chart.columns))], chart.columns, rotation=60, ha="right"
        )
        axes.set_yticks([row + 0.5 for row in range(len(chart.rows))], chart.rows)
        axes.tick_params(labelsize=9, length=0)
        axes.invert_yaxis()
        axes.set_xlabel("images of the task")
        axes.set_ylabel("images of the training")
        return svg()
