"""The tables of a report, as text: the study's own with the paper's numbers, runs that miss, throughput."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple
from urllib.parse import quote

from launchers.reporting.estimate import estimate, number
from launchers.reporting.results import Sweep
from launchers.reporting.run_result import FAILED, RunResult
from launchers.sweeps.columns import dense_metric
from launchers.sweeps.study import text_of
from pipelines.command.errors import UserError

_NAMES = {"knn": "kNN", "svm": "SVM", "map": "mAP", "top1": "top-1", "top5": "top-5", "mi": "MI"}


class Link(NamedTuple):
    """A file of a run, by its path from the report."""

    text: str
    path: str

    @property
    def href(self) -> str:
        """The path as a relative URL."""
        return quote(self.path)


Cell = str | tuple[Link, ...]


@dataclass(frozen=True)
class Table:
    """Text and links in rows and columns; columns in ``numbers`` (by index) are set flush right."""

    head: Sequence[str]
    lines: Sequence[Sequence[Cell]]
    numbers: frozenset[int] = frozenset()

    def kind(self, column: int) -> str:
        """Classes of a column's cells in the page's style."""
        kind = "number" if column in self.numbers else "text"
        return f"{kind} paper" if self.head[column].endswith("paper") else kind


def rows(sweep: Sweep) -> dict[str, list[RunResult]]:
    """The runs of each row of the study's table: its seeds, measured on the same data."""
    found: dict[str, list[RunResult]] = {}
    for run in sweep.runs:
        found.setdefault(run.row, []).append(run)
    return found


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the study's table: a result, or the paper's number of a metric."""

    title: str
    result: str = ""
    metric: str = ""
    """Of the paper; "" in a column of results."""


def study_table(sweep: Sweep, columns: Sequence[str] = ()) -> Table:
    """A line per row: what is varied, each result's mean over seeds, the paper's number right of its own.

    The results are those of ``columns_of``.
    """
    shown = columns_of(sweep, columns)
    axes = [axis for axis in sweep.axes if not _told_by_rows(sweep, axis)]
    head = ["row", *(axis.replace("_", " ") for axis in axes), *(column.title for column in shown), "runs"]
    lines = []
    for label, runs in rows(sweep).items():
        cells = [_result_cell(runs, column) for column in shown]
        lines.append([label, *row_values(runs, axes), *cells, _finished(runs)])
    return Table(head, lines, frozenset(range(1, len(head))))


def columns_of(sweep: Sweep, chosen: Sequence[str] = ()) -> list[Column]:
    """Columns of results, each with the paper's number right of it; then the paper's other numbers.

    Args:
        chosen: begins of results, "linear" or "linear.top1@cifar100", in the order of their columns; empty:
            all results. Only the paper's numbers of these are shown then.

    Raises:
        UserError: a word begins no result.
    """
    published, results = _published_metrics(sweep), shown_results(sweep, details=bool(chosen))
    for word in chosen:
        if not any(_begins(word, result) for result in results):
            known = ", ".join(results) or "none yet"
            raise UserError(f"--columns {word}: there is no such result; there are {known}")
    if chosen:
        picked = (result for word in chosen for result in results if _begins(word, result))
        results = list(dict.fromkeys(picked))
    columns, matched = [], set()
    for result in results:
        columns.append(Column(title=result_title(result), result=result))
        own = [metric for metric in published if paper_metric_is(metric, result)]
        columns += [Column(title="paper", metric=metric) for metric in own]
        matched |= {*own}
    if not chosen:
        others = [metric for metric in published if metric not in matched]
        columns += [Column(title=f"{metric}, paper", metric=metric) for metric in others]
    return columns


def _begins(word: str, result: str) -> bool:
    """True if a result is what a word names: up to a dot, an option or the data's digest."""
    return result.startswith(word) and (len(result) == len(word) or result[len(word)] in ".+@-_")


def row_values(runs: Sequence[RunResult], axes: Sequence[str]) -> list[str]:
    """Values of the axes of a row."""
    return [text_of(runs[0].values.get(axis, "")) for axis in axes]


def shown_results(sweep: Sweep, *, details: bool = False) -> list[str]:
    """Results that the study's table has a column for: what papers report, then the planned protocols.

    The kNN that every run measures while it trains stands in where no kNN evaluation was made; what a
    protocol tells of its own training (train_loss) is left to the JSON files, and a study's results over the
    number of labels to its figures.

    Args:
        details: also what dense transfers give beside the paper's metrics: AP of small boxes ...
    """
    found = {result for run in sweep.runs for result in run.results if ".train_" not in result}
    if any(figure.get("kind") for figure in sweep.about.get("figures", [])):
        found = {result for result in found if "+labels=" not in result}
    if any(result.startswith("knn.") for result in found):
        found.discard("knn_top1")
    planned = list(dict.fromkeys(protocol for run in sweep.runs for protocol in run.planned))
    order = {protocol: index for index, protocol in enumerate(planned)}
    order |= dict.fromkeys(("knn_top1_pixels", "knn_top1_untrained"), order.get("knn", len(order)))
    published = _published_metrics(sweep)
    if published and not details:
        found = {result for result in found if dense_metric(result) in (None, *published)}

    def order_of(result: str) -> tuple[bool, int, list[tuple[int, int, str]]]:
        compared = [index for index, metric in enumerate(published) if paper_metric_is(metric, result)]
        last = len(order) + min(compared, default=0)  # dense transfers, in the order of the paper's columns
        return not compared, order.get(result.partition(".")[0], last), _natural(result)

    return sorted(found, key=order_of)


def result_title(result: str) -> str:
    """A result's name for a reader: "knn.top1_k200" is "kNN top-1 k200".

    "linear.top1+epochs=10@stl10-1a2b3c4d" is "linear top-1, epochs=10, on stl10-1a2b3c4d". A dense transfer
    has the name that papers give it, "VOC07 AP50".
    """
    if dense := dense_metric(result):
        return dense
    head, at, data = result.partition("@")
    name, *options = head.split("+")
    words = re.split(r"[._ ]+", name.removeprefix("alignment."))  # that protocol's results name themselves
    title = " ".join(_NAMES.get(word, word) for word in words)
    return ", ".join([title, *options, *([f"on {data}"] if at else [])])


def named_value(run: RunResult, axis: str) -> str:
    """A run's value of an axis: "num negatives 16"; a name speaks for itself."""
    value = run.values.get(axis)
    return value if isinstance(value, str) else f"{axis.replace('_', ' ')} {text_of(value)}"


def paper_metric_is(metric: str, result: str) -> bool:
    """True if a paper's metric ("linear top-1") is one of our results ("linear.top1").

    "kNN top-1" is the one with 200 neighbors, as in the papers; "linear top-1 on CIFAR-100" is
    "linear.top1@cifar100-1a2b3c4d" with any digest or none; "uniformity" is "alignment.uniformity"; "VOC07
    AP50" is "voc07_c4.AP50@voc07".
    """
    if dense := dense_metric(result):
        return metric == dense
    head, at, data = result.partition("@")
    words, ours = _words(metric), _words(head)
    if at:
        ours += ["on", re.sub("-[0-9a-f]{8}$", "", data).lower().replace("-", "")]
    if ours[:1] == ["alignment"] and len(ours) > 1:
        return words == ours[1:]
    return words == ours or (words == ["knn", "top1"] and ours == ["knn", "top1", "k200"])


def all_runs(sweep: Sweep) -> Table:
    """A line per run: how far it came, where it ran, and its files."""
    lines: list[list[Cell]] = []
    for run in sweep.runs:
        name = run.folder.name
        named = {
            "folder": run.folder,
            "log": run.sweep.log(name),
            "config": run.sweep.config(name),
            "curves": run.folder / "curves.png",
            "views": run.folder / "views.png",
        }
        links = tuple(
            Link(text, os.path.relpath(path, sweep.folder)) for text, path in named.items() if path.exists()
        )
        tried = str(len(run.attempts) or "")
        hosts = ", ".join(dict.fromkeys(attempt.host for attempt in run.attempts))
        lines.append([run.name, run.row, run.status, _done(run), tried, hosts, links])
    return Table(["run", "row", "status", "epochs", "attempts", "hosts", "files"], lines, frozenset({3, 4}))


def failures(sweep: Sweep) -> Table:
    """Runs and evaluations that failed, with the last line of their error."""
    lines = []
    for run in sweep.runs:
        if run.status in FAILED:
            lines.append([run.name, run.row, _done(run), run.error or "no error was recorded"])
        for evaluation, error in run.failed_evaluations.items():
            lines.append([f"{run.name}, {evaluation}", run.row, _done(run), error])
    return Table(["run", "row", "epochs", "error"], lines, frozenset({2}))


def unfinished(sweep: Sweep) -> Table:
    """Runs that are not through, and finished ones that lack an evaluation."""
    lines = []
    for run in sweep.runs:
        old = [str(found.name) for found in run.evaluations if run.outdated(found)]
        notes = [f"{name} is of an earlier checkpoint and was left out" for name in old]
        if run.status == "finished" and run.missing:
            notes.append(f"no {' and no '.join(run.missing)} yet")
        if run.status not in ("finished", *FAILED) or notes:
            lines.append([run.name, run.row, run.status, _done(run), "; ".join(notes)])
    return Table(["run", "row", "status", "epochs", "note"], lines, frozenset({3}))


def throughput(sweep: Sweep) -> Table:
    """Training speed and time per row, over all seeds that have begun."""
    lines = []
    for label, runs in rows(sweep).items():
        begun = [run.summary for run in runs if run.summary.get("images_per_s")]
        if begun:
            rates = estimate([summary["images_per_s"] for summary in begun])
            waits = [summary["data_wait"] for summary in begun if "data_wait" in summary]
            hours = sum(summary.get("train_seconds", 0) for summary in begun) / 3600
            wait = f"{sum(waits) / len(waits):.0%}" if waits else ""
            lines.append([label, str(rates), wait, f"{hours:.2f}", str(len(begun))])
    head = ["row", "images per second", "waiting for data", "hours of training, all runs", "runs"]
    return Table(head, lines, frozenset({1, 2, 3, 4}))


def papers(sweep: Sweep) -> list[str]:
    """Sources of the paper's numbers: "TITLE: TABLES", a line per paper."""
    places: dict[str, dict[str, None]] = {}
    for run in sweep.runs:
        if run.paper and run.published:
            table, _, _ = run.paper["place"].partition(",")  # the rest is the row
            places.setdefault(run.paper["title"], {})[table] = None
    return [f"{title}: {', '.join(of_title)}" for title, of_title in places.items()]


def markdown(table: Table) -> str:
    """The table in Markdown."""
    rule = ["---:" if index in table.numbers else "---" for index in range(len(table.head))]
    lines = [map(_cell, table.head), rule, *(map(_cell, line) for line in table.lines)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain(text: str) -> str:
    """Text as Markdown that shows it letter by letter: no HTML, no links, no columns."""
    return re.sub(r"([\\|`*\[\]])", r"\\\1", escape(text, quote=False))


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return plain(" ".join(cell.split()))
    return ", ".join(f"[{plain(link.text)}](<{link.href}>)" for link in cell)


def _published_metrics(sweep: Sweep) -> list[str]:
    return list(dict.fromkeys(metric for run in sweep.runs for metric in run.published))


def published_number(runs: Sequence[RunResult], metric: str) -> float | None:
    """The paper's number of a row; None where it has none."""
    return next((run.published[metric] for run in runs if metric in run.published), None)


def _result_cell(runs: Sequence[RunResult], column: Column) -> str:
    """A mean over seeds, or the paper's number."""
    if column.metric:
        found = published_number(runs, column.metric)
        return "" if found is None else number(found)
    values = [run.results[column.result] for run in runs if column.result in run.results]
    return str(estimate(values)) if values else ""


def _finished(runs: Sequence[RunResult]) -> str:
    """ "3", or "2 of 3" while some are not finished."""
    done = sum(run.status == "finished" for run in runs)
    return str(done) if done == len(runs) else f"{done} of {len(runs)}"


def _told_by_rows(sweep: Sweep, axis: str) -> bool:
    """True if every row's label says its value of the axis, if it has one."""
    values = [(run.row, run.values.get(axis)) for run in sweep.runs]
    return all(
        value in (None, "") or re.search(rf"(?<![\w.]){re.escape(text_of(value))}(?![\w.])", row)
        for row, value in values
    )


def _done(run: RunResult) -> str:
    return f"{run.summary['epochs_done']:.1f}" if "epochs_done" in run.summary else ""


def _words(name: str) -> list[str]:
    return re.split(r"[._ ]+", name.lower().replace("-", ""))


def _natural(key: str) -> list[tuple[int, int, str]]:
    """Sort key by which k20 comes before k200 and k200 before k1000."""
    return [
        (1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.split(r"(\d+)", key) if part
    ]
