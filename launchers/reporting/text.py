"""The sections of a report, in order, for the page and for Markdown."""

from __future__ import annotations

import inspect
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launchers.reporting.chart import Bound, Chart
from launchers.reporting.figures import charts
from launchers.reporting.heat_map import HeatMap
from launchers.reporting.results import Sweep
from launchers.reporting.table import (
    Table,
    all_runs,
    failures,
    markdown,
    papers,
    plain,
    study_table,
    throughput,
    unfinished,
)

_SIGNS: Mapping[Bound, str] = {"": "", "lower": "at least ", "upper": "at most "}
_BANDS = (
    "Over the number of labels, shaded: 95 % t intervals over seeds, of two seeds their range. Open markers "
    "with arrows are bounds: from scratch, no number of labels reaches the accuracy, or the fewest exceed it."
)
_STATES = ("finished", "running", "paused", "interrupted", "waiting", "cancelled", "lost", "failed")


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, a table, charts, and small print."""

    title: str
    before: Sequence[str] = ()
    table: Table | None = None
    charts: Sequence[Chart | HeatMap] = ()
    after: Sequence[str] = ()


@dataclass(frozen=True)
class Story:
    """A whole report.

    Attributes:
        facts: when, by whom and from which code, in a line.
        states: how many runs are in each.
    """

    title: str
    facts: str
    states: Sequence[tuple[str, int]]
    sections: Sequence[Section]


def tell(sweep: Sweep, columns: Sequence[str] = ()) -> Story:
    """The report of a sweep; ``columns`` are its table's (``launchers.reporting.table.columns_of``).

    Raises:
        UserError: there is no such result.
    """
    about = sweep.about
    study = str(about.get("study", sweep.folder.name))
    commit = str(about.get("git_commit") or "unknown")[:10] if len(sweep.folders) < 2 else about["git_commit"]
    facts = [
        f"study {study}" + (", tiny scale" if about.get("scale") == "tiny" else ""),
        *([f"submitted {str(about['created'])[:16].replace('T', ' ')}"] if about.get("created") else []),
        *([f"cluster {about['cluster']}"] if about.get("cluster") else []),
        f"code {commit}",
    ]
    counts = Counter(run.status for run in sweep.runs)
    ordered = dict.fromkeys((*_STATES, *counts))
    states = [(state, counts[state]) for state in ordered if state in counts]
    return Story(str(about.get("title") or study), " · ".join(facts), states, _sections(sweep, columns))


def _sections(sweep: Sweep, columns: Sequence[str]) -> list[Section]:
    drawn = charts(sweep)
    problems, open_runs, rates = failures(sweep), unfinished(sweep), throughput(sweep)
    found = [Section("Results", _about(sweep), study_table(sweep, columns), after=_how_to_read(sweep))]
    if drawn:
        captions = [
            "Bars are 95 % t intervals over seeds, of two seeds their range. A curve is the mean over the "
            "seeds that have come so far."
        ]
        if any(isinstance(chart, Chart) and chart.scatter for chart in drawn):
            captions.append("Shaded: 95 % confidence band of a regression line by least squares.")
        if any(isinstance(chart, Chart) and chart.bands for chart in drawn):
            captions.append(_BANDS)
        found.append(Section("Figures", charts=drawn, after=captions))
    if problems.lines:
        found.append(Section("Failed runs", table=problems))
    if open_runs.lines:
        found.append(Section("Not finished", table=open_runs))
    if rates.lines:
        found.append(Section("Throughput", table=rates))
    found.append(Section("Runs", table=all_runs(sweep)))
    if sweep.damaged:
        found.append(Section("Damaged files", sweep.damaged))
    return [*found, Section("How it was run", _command(sweep))]


def _about(sweep: Sweep) -> list[str]:
    """The study's docstring in paragraphs, without its first line where that is the title."""
    text = inspect.cleandoc(str(sweep.about.get("about", "")))
    first, _, rest = text.partition("\n")
    if first.strip().rstrip(".") == str(sweep.about.get("title", "")).strip().rstrip("."):
        text = rest.strip("\n")
    return [part for part in text.split("\n\n") if part.strip()]


def _how_to_read(sweep: Sweep) -> list[str]:
    notes = [
        "Ours: mean over the finished seeds ± half the width of the 95 % t interval; of two seeds, their "
        "mean and range; a single seed has no interval. Accuracies are fractions, after the last epoch."
    ]
    if sources := papers(sweep):
        notes.append(f"The paper's numbers: {'. '.join(sources)}.")
    if sweep.on_other_data:
        notes.append("The paper's numbers are left out where a run did not train on the paper's data.")
    return notes


def _command(sweep: Sweep) -> list[str]:
    commands = sweep.about.get("commands") or [sweep.about.get("command")]
    shown = [
        shlex.join(map(str, command)) if isinstance(command, list) else str(command or "")
        for command in commands
    ]
    lines = [f"    {command}" for command in shown if command]
    if not sweep.folders:
        return ["The complete config of every run is config.json of its folder."]
    names = " and ".join(folder.resolve().name for folder in sweep.folders)
    return [*lines, f"The complete config of every run lies in configs/ of {names}."]


def as_markdown(story: Story) -> str:
    """The report in Markdown; of charts it holds the numbers of those over an axis."""
    states = ", ".join(f"{count} {state}" for state, count in story.states)
    parts = [f"# {plain(story.title)}", plain(f"{story.facts} · runs: {states}")]
    for section in story.sections:
        parts += [f"## {section.title}", *map(_paragraph, section.before)]
        if section.table is not None:
            parts.append(markdown(section.table))
        for chart in section.charts:
            if has_numbers(chart) or (
                isinstance(chart, Chart) and chart.scatter
            ):  # curves: on the page alone
                parts += [f"### {plain(chart.title)}", markdown(numbers(chart))]
        parts += map(plain, section.after)
    return "\n\n".join(parts) + "\n"


def _paragraph(text: str) -> str:
    """Running text; code, which shows its letters as they are, where every line is indented."""
    return text if all(line.startswith("    ") for line in text.splitlines()) else plain(text)


def has_numbers(chart: Chart | HeatMap) -> bool:
    """True for a heat map, and for a chart over an axis: points few enough for a table."""
    return isinstance(chart, HeatMap) or bool(chart.ticks)


def numbers(chart: Chart | HeatMap) -> Table:
    """The points of a chart over an axis, or the cells of a heat map."""
    if isinstance(chart, HeatMap):
        named = zip(chart.rows, chart.cells, strict=True)
        cells = [[row, *("" if cell is None else f"{cell:.2f}" for cell in line)] for row, line in named]
        return Table(["trained on", *chart.columns], cells, frozenset(range(1, len(chart.columns) + 1)))
    lines = []
    for line in chart.lines:
        for label, points in ((line.label, line.points), (f"{line.label}, paper".strip(", "), line.paper)):
            for point in points:
                x = chart.names[int(point.x)] if chart.names else f"{point.x:g}"
                interval = f"{point.low:.4g} to {point.high:.4g}" * (point.high > point.low)
                value = f"{_SIGNS[point.bound]}{point.y:.4g}"
                lines.append([label, x, value, interval, str(point.count or "")])
    head = ["series", chart.x_label, chart.y_label, "interval", "seeds"]
    return Table(head, lines, frozenset({1, 2, 3, 4}))
