"""``python -m fastssl.train [RECIPE | FILE.py:NAME | CONFIG.json] [options]`` to a config; --list."""

from __future__ import annotations

import dataclasses
import difflib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tyro

from fastssl.config import Config, read_config
from fastssl.recipes import find_recipe
from fastssl.recipes.table import recipe_list
from pipelines.command.errors import UserError
from pipelines.command.options import one_line_complaints

DEFAULT_RECIPE = "quickstart"


def parse(argv: list[str]) -> Config:
    """The config that a command line names: a recipe (or the config.json of a run) and what it overrides.

    A recipe may be a function in a file of the user's, ``mine.py:my_recipe``.

    Raises:
        UserError: unknown recipe or option (the message names the nearest), unreadable config, a value of
            the wrong type, or one that a config refuses.
        SystemExit: status 0, for --help and --list.
    """
    if "--list" in argv:
        _show(recipe_list(shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
        raise SystemExit(0)
    rest = list(argv)
    name = rest.pop(0) if rest and not rest[0].startswith("-") else DEFAULT_RECIPE
    base = read_config(Path(name)) if name.endswith(".json") else find_recipe(name)
    description = (
        f"Pre-train an encoder. This page shows the defaults of the recipe {name}.\n\n"
        "Usage: python -m fastssl.train [RECIPE | FILE.py:NAME | CONFIG.json] [options]. "
        f"Without a recipe: {DEFAULT_RECIPE}.\n\n"
        "python -m fastssl.train --list shows the recipes."
    )
    prog = f"python -m fastssl.train {name}"
    with one_line_complaints(prog):
        config, unknown = tyro.cli(
            Config, prog=prog, description=description, default=base, args=rest, return_unknown_args=True
        )
    if unknown:
        raise UserError(_explain(unknown[0], base, prog))
    return config


def option_names(config: Config) -> list[str]:
    """Every option, such as ``--optimizer.base-lr``: the paths of the fields in both halves of a config."""
    halves = dataclasses.asdict(config.experiment) | dataclasses.asdict(config.machine)
    return [f"--{path}".replace("_", "-") for path in _paths(halves)]


def _show(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _paths(values: dict[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, tuple) and any(isinstance(part, dict) for part in value):
            value = {str(i): part for i, part in enumerate(value)}
        if isinstance(value, dict):
            yield from (f"{name}.{path}" for path in _paths(value))
        else:
            yield name


def _explain(word: str, config: Config, prog: str) -> str:
    """What is wrong with a word that is no option, and what was meant."""
    if not word.startswith("-"):
        return f"unexpected {word}: a recipe comes first, then options as --name value"
    near = difflib.get_close_matches(word.split("=")[0].replace("_", "-"), option_names(config), n=1)
    hint = f"did you mean {near[0]}?" if near else f"{prog} --help lists the options"
    return f"unknown option {word}: {hint}"
