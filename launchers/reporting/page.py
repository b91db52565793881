"""The report as one HTML page that loads nothing: tables, then charts, then what went wrong."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from html import escape

from launchers.reporting.chart import Chart, Series, draw, marker
from launchers.reporting.style import COLORS, STYLE
from launchers.reporting.table import Table
from launchers.reporting.text import Section, Story

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # the browser itself refuses to fetch anything
_LONG_LEGEND = 16  # entries


def page(story: Story) -> str:
    """The whole page."""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(story.title)}</title>",
            f"<style>{STYLE}</style></head><body><main>",
            f"<h1>{escape(story.title)}</h1>",
            f'<p class="soft">{escape(story.facts)}</p>',
            _states(story.states),
            *map(_section, story.sections),
            "</main></body></html>\n",
        ]
    )


def _states(states: Iterable[tuple[str, int]]) -> str:
    items = "".join(
        f'<li class="{escape(name)}"><b>{count}</b> {escape(name)}</li>' for name, count in states
    )
    return f'<ul class="states">{items}</ul>'


def _section(section: Section) -> str:
    parts = [f"<section><h2>{escape(section.title)}</h2>"]
    parts += map(_paragraph, section.before)
    if section.table is not None:
        parts.append(_table(section.table))
    if section.charts:
        parts.append(f'<div class="charts">{"".join(map(_figure, section.charts))}</div>')
    parts += [f'<p class="soft">{escape(note)}</p>' for note in section.after]
    return "\n".join([*parts, "</section>"])


def _paragraph(text: str) -> str:
    """Running text; what is indented, or a table, keeps its lines."""
    if re.search(r"^(\s+\S|\|)", text, re.M):
        return f'<pre class="scroll">{escape(textwrap.dedent(text))}</pre>'
    return f"<p>{escape(text)}</p>"


def _table(table: Table) -> str:
    head = "".join(f"<th{_kind(table, place)}>{escape(title)}</th>" for place, title in enumerate(table.head))
    body = "".join(
        "<tr>"
        + "".join(f"<td{_kind(table, place)}>{escape(text)}</td>" for place, text in enumerate(line))
        + "</tr>"
        for line in table.lines
    )
    whole = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0">{whole}</div>'


def _kind(table: Table, place: int) -> str:
    kinds = ["number" if place in table.numbers else "text"]
    if table.head[place].endswith("paper"):
        kinds.append("paper")
    return f' class="{" ".join(kinds)}"'


def _figure(chart: Chart) -> str:
    head = f"<h3>{escape(chart.title)}</h3><figcaption>{escape(chart.y_label)}</figcaption>"
    return f"<figure>{head}{_recolored(draw(chart))}{_legend(chart)}</figure>"


def _legend(chart: Chart) -> str:
    """What the lines are; behind a click where they are very many."""
    entries = [_legend_entry(series) for series in chart.series if series.label and series.style != "faint"]
    if not entries:
        return ""
    legend = f'<ul class="legend">{"".join(entries)}</ul>'
    if len(entries) > _LONG_LEGEND:
        return f"<details><summary>{len(entries)} lines</summary>{legend}</details>"
    return legend


def _legend_entry(series: Series) -> str:
    mark = marker(series.color, 13, 6) if series.style in ("marked", "paper") else ""
    line = f'<g class="{series.style} c{series.color}"><path d="M0 6h26"/><g>{mark}</g></g>'
    return _recolored(
        f'<li><svg viewBox="0 0 26 12" aria-hidden="true">{line}</svg>{escape(series.label)}</li>'
    )


def _recolored(svg: str) -> str:
    """More series than colors: the colors come again, with broken lines."""

    def color(found: re.Match[str]) -> str:
        again = " again" if int(found[2]) >= COLORS else ""
        return f'{found[1]}{int(found[2]) % COLORS}{again}"'

    return re.sub(r'(<g class="\w+ c)(\d+)"', color, svg)
