"""The sections of a report, in order, for the page and for Markdown."""

from __future__ import annotations

import inspect
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from launchers.reporting.chart import Chart
from launchers.reporting.figures import charts
from launchers.reporting.results import Sweep
from launchers.reporting.table import Table, failures, markdown, papers, study_table, throughput, unfinished

_STATES = ("finished", "running", "interrupted", "waiting", "cancelled", "lost", "failed")


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, a table, charts, and small print."""

    title: str
    before: Sequence[str] = ()
    table: Table | None = None
    charts: Sequence[Chart] = ()
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


def tell(sweep: Sweep) -> Story:
    """The report of a sweep."""
    about = sweep.about
    study = str(about.get("study", sweep.folder.name))
    commit = str(about.get("git_commit") or "unknown")[:10]
    facts = [
        f"study {study}" + ("" if sweep.at_paper_scale else ", tiny scale"),
        *([f"submitted {str(about['created'])[:16].replace('T', ' ')}"] if about.get("created") else []),
        *([f"cluster {about['cluster']}"] if about.get("cluster") else []),
        f"code {commit}",
    ]
    counts = Counter(run.status for run in sweep.runs)
    states = [(state, counts[state]) for state in sorted(counts, key=_state_order)]
    return Story(str(about.get("title") or study), " · ".join(facts), states, _sections(sweep))


def _sections(sweep: Sweep) -> list[Section]:
    drawn = charts(sweep)
    problems, open_runs, rates = failures(sweep), unfinished(sweep), throughput(sweep)
    found = [Section("Results", _about(sweep), study_table(sweep), after=_how_to_read(sweep))]
    if drawn:
        captions = ["Bars and curves are over seeds; hover a point for its numbers."]
        found.append(Section("Figures", charts=drawn, after=captions))
    if problems.lines:
        found.append(Section("Failed runs", table=problems))
    if open_runs.lines:
        found.append(Section("Not finished", table=open_runs))
    if rates.lines:
        found.append(Section("Throughput", table=rates))
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
        "Ours: mean over the finished seeds ± half the width of the 95 % t interval; a single seed has no "
        "interval. Accuracies are fractions, after the last epoch."
    ]
    sources = papers(sweep)
    if sources:
        scale = (
            "" if sweep.at_paper_scale else " They are of runs at the paper's scale, not of this small one's."
        )
        notes.append(f"The paper's numbers: {'. '.join(sources)}.{scale}")
    return notes


def _command(sweep: Sweep) -> list[str]:
    command = sweep.about.get("command")
    shown = shlex.join(map(str, command)) if isinstance(command, list) else str(command or "")
    lines = [f"    {shown}"] if shown else []
    return [*lines, f"The complete config of every run lies in configs/ of {sweep.folder.resolve().name}."]


def _state_order(state: str) -> int:
    return _STATES.index(state) if state in _STATES else len(_STATES)


def as_markdown(story: Story) -> str:
    """The report in Markdown; of charts it holds the numbers of those over an axis."""
    states = ", ".join(f"{count} {state}" for state, count in story.states)
    parts = [f"# {story.title}", f"{story.facts} · runs: {states}"]
    for section in story.sections:
        parts += [f"## {section.title}", *section.before]
        if section.table is not None:
            parts.append(markdown(section.table))
        parts += [part for chart in section.charts for part in _numbers(chart)]
        parts += section.after
    return "\n\n".join(parts) + "\n"


def _numbers(chart: Chart) -> list[str]:
    """The points of a chart over an axis as a table; curves are left to the page."""
    if not chart.over_axis:
        return []
    lines = [
        [
            series.label,
            _x_text(chart, point.x),
            f"{point.y:.4g}",
            f"{point.low:.4g} to {point.high:.4g}" * (point.high > point.low),
        ]
        for series in chart.series
        for point in series.points
    ]
    head = ["series", chart.x_label, chart.y_label, "95 % interval"]
    return [f"### {chart.title}", markdown(Table(head, lines, frozenset({1, 2, 3})))]


def _x_text(chart: Chart, x: float) -> str:
    return chart.names[int(x)] if chart.names else f"{x:g}"
