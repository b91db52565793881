"""The study's table as files: table.csv with means, intervals and seeds as numbers; table.tex for a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from launchers.reporting.estimate import estimate
from launchers.reporting.results import Sweep
from launchers.reporting.table import Table, columns_of, published_number, row_values, rows

_LATEX = {
    "\\": r"\textbackslash{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}


def table_csv(sweep: Sweep, columns: Sequence[str] = ()) -> str:
    """A line per row: of each result mean, low, high and seeds (see ``Estimate``), and the paper's number.

    Args:
        sweep: its runs make the rows.
        columns: see ``columns_of``.
    """
    shown, axes = columns_of(sweep, columns), sweep.axes
    head = ["row", *axes]
    for column in shown:
        of_result = [f"{column.result} {part}" for part in ("mean", "low", "high", "seeds")]
        head += [f"{column.metric}, paper"] if column.metric else of_result
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
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
        writer.writerow([label, *row_values(runs, axes), *cells])
    return file.getvalue()


def latex(table: Table) -> str:
    r"""The table as a ``tabular`` without packages; cells of links are left out."""
    kept = [
        place for place in range(len(table.head)) if all(isinstance(line[place], str) for line in table.lines)
    ]
    layout = "".join("r" if place in table.numbers else "l" for place in kept)
    lines = [[str(line[place]) for place in kept] for line in (table.head, *table.lines)]
    head, *body = [" & ".join(map(_escaped, line)) + r" \\" for line in lines]
    rule = r"\hline"
    begin, end = rf"\begin{{tabular}}{{{layout}}}", r"\end{tabular}"
    return "\n".join([begin, rule, head, rule, *body, rule, end, ""])


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))
