"""Results as files: results.csv of runs, table.csv of means, intervals and seeds, table.tex for a paper."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from launchers.reporting.estimate import estimate
from launchers.reporting.results import Sweep
from launchers.reporting.table import Cell, Table, columns_of, published_number, row_values, rows

_LATEX = {
    "\\": r"\textbackslash{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}


def table_csv(sweep: Sweep, columns: Sequence[str] = ()) -> str:
    """A line per row: of each result mean, low, high and seeds (see ``Estimate``), and the paper's number.

    The results are those of ``columns_of``.
    """
    shown, axes = columns_of(sweep, columns), sweep.axes
    head: list[Any] = ["row", *axes]
    for column in shown:
        of_result = [f"{column.result} {part}" for part in ("mean", "low", "high", "seeds")]
        head += [f"{column.metric}, paper"] if column.metric else of_result
    lines = [head]
    for label, runs in rows(sweep).items():
        cells: list[Any] = []
        for column in shown:
            values = [run.results[column.result] for run in runs if column.result in run.results]
            if column.metric:
                cells.append(published_number(runs, column.metric))
            elif values:
                found = estimate(values)
                cells += [found.mean, found.low, found.high, found.count]
            else:
                cells += [None] * 4
        lines.append([label, *row_values(runs, axes), *cells])
    return _csv(lines)


def results_csv(sweep: Sweep) -> str:
    """A line per run: every config field that varies and every metric, as pandas reads it.

    Metrics are the results of ``eval/*.json`` and each last value while training.
    """
    configs = [run.config for run in sweep.runs]
    axes = sweep.about.get("axes", [])
    fields = [
        name
        for name in dict.fromkeys(name for config in configs for name in config if name not in axes)
        if len({json.dumps(config.get(name)) for config in configs if config}) > 1
    ]
    results = sorted({name for run in sweep.runs for name in run.results})
    metrics = sorted({name for run in sweep.runs for name in run.last_metrics} - {*results})
    lines: list[list[Any]] = [["run", "row", "status", "attempts", *axes, *fields, *results, *metrics]]
    for run in sweep.runs:
        values = [run.values.get(axis) for axis in axes]
        values += [run.config.get(name) for name in fields]
        values += [run.results.get(name) for name in results]
        values += [run.last_metrics.get(name) for name in metrics]
        lines.append([run.name, run.row, run.status, len(run.attempts), *values])
    return _csv(lines)


def _csv(lines: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(lines)
    return file.getvalue()


def latex(table: Table) -> str:
    r"""A table of text as a ``tabular`` without packages."""
    layout = "".join("r" if column in table.numbers else "l" for column in range(len(table.head)))
    head, *body = [" & ".join(map(_escaped, line)) + r" \\" for line in (table.head, *table.lines)]
    rule = r"\hline"
    begin, end = rf"\begin{{tabular}}{{{layout}}}", r"\end{tabular}"
    return "\n".join([begin, rule, head, rule, *body, rule, end, ""])


def _escaped(cell: Cell) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(str(cell).split()))
