"""``python -m fastssl.train [RECIPE | FILE.py:NAME | CONFIG.json] [options]`` to a config; --list."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tyro

from fastssl.config import Config, families, from_dict, read_config, to_dict, with_kind
from fastssl.recipes import find_recipe
from fastssl.recipes.table import recipe_list
from pipelines.command.errors import UserError
from pipelines.command.options import one_line_complaints
from pipelines.command.suggest import suggest

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
    base = _with_kinds(base, rest)
    kinds = "\n".join(
        textwrap.fill(f"--{family} takes {', '.join(known)}.", 100) for family, known in families().items()
    )
    description = (
        f"Pre-train an encoder. This page shows the defaults of the recipe {name}.\n\n"
        "Usage: python -m fastssl.train [RECIPE | FILE.py:NAME | CONFIG.json] [options]. "
        f"Without a recipe: {DEFAULT_RECIPE}.\n\n"
        f"python -m fastssl.train --list shows the recipes.\n\n{kinds}"
    )
    prog = f"python -m fastssl.train {name}"
    with one_line_complaints(prog):
        config, unknown = tyro.cli(
            Config, prog=prog, description=description, default=base, args=rest, return_unknown_args=True
        )
    if unknown:
        raise UserError(_explain(unknown[0], base, prog))
    return config


def _with_kinds(base: Config, words: list[str]) -> Config:
    """The config with the kinds that ``--optimizer lars`` and the like ask for, which leave ``words``."""
    values, where = to_dict(base), []
    for family in families():
        option = f"--{family}"
        place = next((i for i, word in enumerate(words) if word.split("=")[0] == option), None)
        if place is None:
            continue
        _, equals, kind = words.pop(place).partition("=")
        if not equals:
            if place == len(words):
                raise UserError(f"{option} needs a kind: {', '.join(families()[family])}")
            kind = words.pop(place)
        values["experiment"][family] = with_kind(values["experiment"][family], family, kind)
        where.append(f"{option} {kind}")
    return from_dict(values, " ".join(where)) if where else base


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
    """Explain a word that is no option, with the one that was meant."""
    if os.path.isfile(word):  # the shell expanded a pattern
        return f"unexpected {word}: put a pattern into quotes: --data 'train-*.tar'"
    if not word.startswith("-"):
        return f"unexpected {word}: a recipe comes first, then options as --name value"
    option = word.split("=")[0].replace("_", "-")
    hint = suggest(option, option_names(config), otherwise=f"{prog} --help lists the options")
    return f"unknown option {word}: {hint}"
