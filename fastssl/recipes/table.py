"""Tables of the recipes: the page ``README.md`` of this folder, and what --list shows.

``python -m fastssl.recipes.table > fastssl/recipes/README.md`` writes the page anew.
"""

from __future__ import annotations

import textwrap

from fastssl.config import Config, Results
from fastssl.recipes import RECIPES
from fastssl.recipes.papers import LINEAR_TOP1

_HEADER = ("recipe", "method", "backbone", "data", "epochs", "%", "here", "place")
_RIGHT_ALIGNED = ("epochs", "%", "here")
_INDENT = "  "


_PAGE = """# Recipes

`python -m fastssl.recipes.table > fastssl/recipes/README.md` writes this page. "Not measured yet": nobody has
run the recipe to its end with this code. The docstring of a recipe, or of its file, names the settings that
its paper leaves open: in [msbreg.py](msbreg.py), for example, all images of a batch share batch-norm
statistics, one group, which is our choice.

"""


def recipe_page() -> str:
    """The page of this folder, Markdown."""
    return f"{_PAGE}{recipe_table()}\n"


def recipe_table() -> str:
    """Markdown, one row per recipe: what it trains, published numbers, numbers reached here, command."""
    lines = [
        "| recipe | method, backbone, epochs | to compare with | here | command |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, recipe in RECIPES.items():
        config = recipe()
        experiment, paper = config.experiment, config.paper
        what = f"{experiment.method.kind}, {experiment.backbone.label}, {experiment.epochs:g}"
        published = f"{_numbers(paper.results)} ({paper.title}; {paper.place})" if paper else ""
        data = "" if config.machine.data.startswith("scenes") else " --data DIR"
        lines.append(
            f"| `{name}` | {what} | {published} | {_here(config)} | `python -m fastssl.train {name}{data}` |"
        )
    return "\n".join(lines)


def recipe_list(width: int | None = None) -> str:
    """The recipes under the papers that they reproduce, in plain text.

    Args:
        width: columns to fit into, if at all possible: where one line is too long for it, each recipe takes
            two or more. None: always one line.
    """
    papers: dict[str, list[tuple[str, ...]]] = {}
    for recipe in RECIPES.values():
        config = recipe()
        papers.setdefault(_heading(config), []).append(_cells(config))
    rows = [_HEADER, *(cells for group in papers.values() for cells in group)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if width is not None:
        one_line = sum(widths) + 2 * (len(widths) - 1)
        width = None if one_line <= width else max(width, 72)
    lines = [_line(_HEADER, widths, width)]
    for heading, group in papers.items():
        lines += ["", *textwrap.wrap(heading, width or len(heading))]
        lines += [_line(cells, widths, width) for cells in group]
    return "\n".join(lines)


def _cells(config: Config) -> tuple[str, ...]:
    experiment, paper, measured = config.experiment, config.paper, config.measured
    return (
        config.recipe,
        experiment.method.kind,
        experiment.backbone.label,
        config.machine.data,
        f"{experiment.epochs:g}",
        _percent(paper.results if paper else ()),
        _percent(measured.results if measured else ()),
        paper.place if paper else "",
    )


def _line(cells: tuple[str, ...], widths: list[int], width: int | None) -> str:
    """A row; if it has to fit a width, its first three cells and below them the others, the last wrapped."""
    aligned = [
        cell.rjust(size) if title in _RIGHT_ALIGNED else cell.ljust(size)
        for cell, size, title in zip(cells, widths, _HEADER, strict=True)
    ]
    if width is None:
        return "  ".join(aligned).rstrip()
    start = _INDENT + "  ".join(aligned[3:-1]) + "  "
    wrapped = textwrap.fill(cells[-1], width, initial_indent=start, subsequent_indent=" " * len(start))
    return f"{'  '.join(cells[:3])}\n{wrapped or start.rstrip()}"


def _heading(config: Config) -> str:
    """The paper and the metric of the list's numbers; linear top-1 also for rows without a number."""
    paper, measured = config.paper, config.measured
    results = paper.results if paper else measured.results if measured else ()
    metric = results[0][0] if results else LINEAR_TOP1
    return f"{paper.title if paper else 'For a first run'}: {metric}"


def _percent(results: Results) -> str:
    """The leading number in percent."""
    return f"{100 * results[0][1]:.1f}" if results else ""


def _numbers(results: Results) -> str:
    return ", ".join(f"{metric} {number}" for metric, number in results) or "no number"


def _here(config: Config) -> str:
    measured = config.measured
    if measured is None:
        return "not measured yet"
    return f"{_numbers(measured.results)}; {measured.cost}, {measured.date}"


if __name__ == "__main__":
    print(recipe_page(), end="")
