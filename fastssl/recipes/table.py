"""The recipes as tables: python -m fastssl.recipes.table for the README, and what --list shows."""

from __future__ import annotations

import textwrap

from fastssl.config import Config
from fastssl.recipes import RECIPES, documentation

_HEADER = ("recipe", "method", "backbone", "data", "epochs", "%", "place")
_RIGHT_ALIGNED = ("epochs", "%")
_INDENT = "  "


def recipe_table() -> str:
    """In Markdown, one row a recipe: what it trains, the number to be compared with, ours, the command."""
    lines = [
        "| recipe | method, backbone, epochs | to compare with | here | command |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, recipe in RECIPES.items():
        config = recipe()
        experiment, paper = config.experiment, config.paper
        what = f"{experiment.method.kind}, {experiment.backbone.label}, {experiment.epochs:g}"
        published = ""
        if paper:
            number = "no number" if paper.number is None else f"{paper.metric} {paper.number}"
            published = f"{number} ({paper.title}; {paper.place})"
        data = "" if config.machine.data == "scenes" else " --data DIR"
        lines.append(
            f"| `{name}` | {what} | {published} | {_result(name)} | `python -m fastssl.train {name}{data}` |"
        )
    return "\n".join(lines)


def recipe_list(width: int | None = None) -> str:
    """The recipes under the papers that they reproduce, in plain text.

    Args:
        width: columns to fit into, if at all possible: where one line is too long for it, each recipe takes
            two. None: always one line.
    """
    papers: dict[str, list[tuple[str, ...]]] = {}
    for recipe in RECIPES.values():
        config = recipe()
        paper = config.paper
        heading = f"{paper.title}: {paper.metric}" if paper else "For a first run"
        papers.setdefault(heading, []).append(_cells(config))
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
    experiment, paper = config.experiment, config.paper
    number = "" if paper is None or paper.number is None else f"{100 * paper.number:.1f}"
    return (
        config.recipe,
        experiment.method.kind,
        experiment.backbone.label,
        config.machine.data,
        f"{experiment.epochs:g}",
        number,
        paper.place if paper else "",
    )


def _line(cells: tuple[str, ...], widths: list[int], width: int | None) -> str:
    """A row, in two lines if it has to fit a width: there the last cell is wrapped in its column."""
    aligned = [
        cell.rjust(size) if title in _RIGHT_ALIGNED else cell.ljust(size)
        for cell, size, title in zip(cells, widths, _HEADER, strict=True)
    ]
    if width is None:
        return "  ".join(aligned).rstrip()
    start = _INDENT + "  ".join(aligned[1:-1]) + "  "
    wrapped = textwrap.fill(cells[-1], width, initial_indent=start, subsequent_indent=" " * len(start))
    return f"{cells[0]}\n{wrapped or start.rstrip()}"


def _result(name: str) -> str:
    """What the documentation says after "Result:"."""
    return documentation(name).partition("Result: ")[2].partition("\n\n")[0].replace("\n", " ").rstrip(". ")


if __name__ == "__main__":
    print(recipe_table())
