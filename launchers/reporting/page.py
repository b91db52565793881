"""The report as one HTML page that loads nothing, by the template page.html."""

from __future__ import annotations

import re
import textwrap

import jinja2
from markupsafe import Markup

from launchers.reporting.chart import Chart, as_svg, legend
from launchers.reporting.coordinates import Coordinates, coordinates_svg
from launchers.reporting.heat_map import HeatMap, heat_map_svg
from launchers.reporting.text import Story, has_numbers, numbers


def page(story: Story) -> str:
    """The whole page. Every text is escaped; the charts alone are markup."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("launchers.reporting", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        story=story,
        as_svg=_markup,
        legend=lambda chart: [] if isinstance(chart, HeatMap) else legend(chart),
        numbers=numbers,
        has_numbers=has_numbers,
        dedent=textwrap.dedent,
        is_kept_as_it_is=_is_kept_as_it_is,
    )


def _markup(chart: Chart | HeatMap) -> Markup:
    if isinstance(chart, HeatMap):
        return Markup(heat_map_svg(chart))  # matplotlib has escaped its texts
    return Markup(coordinates_svg(chart) if isinstance(chart, Coordinates) else as_svg(chart))


def _is_kept_as_it_is(text: str) -> bool:
    """True for a paragraph that is indented, or a table: its lines are not filled."""
    return re.search(r"^(\s+\S|\|)", text, re.M) is not None
