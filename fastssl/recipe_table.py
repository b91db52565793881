"""The recipes as a Markdown table, for the README: python -m fastssl.recipe_table"""

from __future__ import annotations

import inspect

from fastssl.recipes import RECIPES


def _result(docstring: str) -> str:
    """What the docstring says after "Result:"."""
    return docstring.partition("Result: ")[2].partition("\n\n")[0].replace("\n", " ").rstrip(". ")


def recipe_table() -> str:
    """One row a recipe: what it trains, the number it is to be compared with, ours, the command."""
    lines = [
        "| recipe | method, backbone, epochs | to compare with | here | command |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, recipe in RECIPES.items():
        config = recipe()
        experiment, paper = config.experiment, config.paper
        what = f"{experiment.method.kind}, {experiment.backbone.name}, {experiment.epochs:g}"
        published = f"{paper.metric} {paper.number} ({paper.title}; {paper.place})" if paper else ""
        data = "" if config.machine.data == "scenes" else " --data DIR"
        result = _result(inspect.getdoc(recipe) or "")
        lines.append(
            f"| `{name}` | {what} | {published} | {result} | `python -m fastssl.train {name}{data}` |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(recipe_table())
