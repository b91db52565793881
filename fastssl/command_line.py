"""``fastssl train [RECIPE | FILE.py:NAME | FILE.json | FILE.toml | RUN] [options]`` to a config; --list."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable

import tyro

from fastssl.config import Config, families
from fastssl.config_file import named_config
from fastssl.config_values import read_config
from fastssl.fields import leaves, with_kinds
from fastssl.help_pages import show
from fastssl.recipes import RECIPES
from fastssl.recipes.table import recipe_list
from pipelines.command.errors import UserError
from pipelines.command.options import one_line_complaints, user_path
from pipelines.command.places import join_repeated
from pipelines.command.suggest import suggest

DEFAULT_RECIPE = "quickstart"


def parse(argv: list[str]) -> Config:
    """The config that a command line names: a recipe and what it overrides.

    In place of a recipe stands a function in a file of the user's, ``mine.py:my_recipe``; a run's config.json
    or a file of some fields over a recipe (``fastssl.config_file``); or a run folder, which is resumed.

    Raises:
        UserError: unknown recipe or option (the message names the nearest), unreadable config, a value of
            the wrong type, or one that a config refuses.
        SystemExit: status 0, for --help and --list.
    """
    if "--list" in argv:
        show(f"{recipe_list(shutil.get_terminal_size().columns if sys.stdout.isatty() else None)}\n")
        raise SystemExit(0)
    rest = join_repeated(argv)
    name = rest.pop(0) if rest and not rest[0].startswith("-") else DEFAULT_RECIPE
    base = with_kinds(_base(name), _taken_kinds(rest))
    names, rest = option_names(base), _of_all_views(rest, len(base.experiment.views))
    prog = f"python -m fastssl.train {name}"
    with one_line_complaints(prog):
        config, unknown = tyro.cli(
            Config,
            prog=prog,
            description=_description(name),
            default=base,
            args=[full_name(word, names) for word in rest],
            return_unknown_args=True,
        )
    if unknown:
        raise UserError(_explain(unknown[0], names, prog))
    return config


def _base(name: str) -> Config:
    """The config that the first word of a command line names."""
    folder = user_path(name)
    if name in RECIPES or not folder.is_dir():
        if "/" in name and not folder.exists() and not folder.suffix and ":" not in name:
            raise UserError(
                f"there is no run folder {name}: python -m fastssl.train --list shows the recipes"
            )
        return named_config(name)
    if not (folder / "config.json").exists():
        raise UserError(
            f"{name} is a folder and no run: images are given with --data, as in "
            f"python -m fastssl.train {DEFAULT_RECIPE} --data {name}"
        )
    config = read_config(folder / "config.json")
    return dataclasses.replace(config, machine=dataclasses.replace(config.machine, out=str(folder)))


def _taken_kinds(words: list[str]) -> dict[str, str]:
    """The kinds that ``--method byol`` and the like ask for, which leave ``words``."""
    kinds = {}
    for family, known in families().items():
        kind = take_option(words, f"--{family}")
        if kind == "":
            raise UserError(f"--{family} needs a kind: {', '.join(known)}")
        if kind is not None:
            kinds[family] = kind
    return kinds


def take_option(words: list[str], option: str) -> str | None:
    """The value of an option, which leaves ``words``; None without the option, "" without a value."""
    index = next((i for i, word in enumerate(words) if word.split("=")[0] == option), None)
    if index is None:
        return None
    _, equals, value = words.pop(index).partition("=")
    return value if equals or index == len(words) else words.pop(index)


def _of_all_views(words: list[str], groups: int) -> list[str]:
    """The words with the size of every group of views in place of ``--size``."""
    place = next((i for i, word in enumerate(words) if word.split("=")[0] == "--size"), None)
    if place is None:
        return words
    _, equals, value = words[place].partition("=")
    values = [value] if equals else words[place + 1 : place + 2]
    sizes = [word for group in range(groups) for word in (f"--views.{group}.spec.size", *values)]
    return [*words[:place], *sizes, *words[place + (1 if equals else 2) :]]


def _description(name: str) -> str:
    kinds = "\n".join(
        textwrap.fill(f"--{family} takes {', '.join(known)}.", 100) for family, known in families().items()
    )
    return (
        f"Pre-train an encoder. This page shows the defaults of the recipe {name}.\n\n"
        "Usage: python -m fastssl.train [RECIPE | FILE.py:NAME | FILE.json | FILE.toml | RUN] [options]\n\n"
        f"Without a recipe it is {DEFAULT_RECIPE}; RUN, a run folder, is resumed.\n\n"
        "The end of an option's name will do where one option ends so: --base-lr. "
        "--size sets the side of all views.\n\n"
        "python -m fastssl.train --list shows the recipes.\n\n"
        "--replay RUN/diverged.json takes the step at which a run diverged again, and says what is not "
        f"finite in it.\n\n{kinds}"
    )


def option_names(config: Config) -> list[str]:
    """Every option, such as ``--optimizer.base-lr``: the paths of the fields in both halves of a config."""
    halves = dataclasses.asdict(config.experiment) | dataclasses.asdict(config.machine)
    return [f"--{path}".replace("_", "-") for path, _ in leaves(halves)]


def full_name(word: str, names: Iterable[str]) -> str:
    """A word with an option's full name for the end of it: ``--optimizer.base-lr=1`` for ``--lr=1``.

    Dashes stand for dots too: ``--blur-p``. Other words stay as they are.

    Raises:
        UserError: several options end so.
    """
    option, equals, value = word.partition("=")
    if not option.startswith("--"):
        return word
    wanted, no = option.removeprefix("--").replace("_", "-"), ""
    names = list(names)
    found = options_ending(wanted, names)
    if not found and wanted.startswith("no-"):
        found, no = options_ending(wanted.removeprefix("no-"), names), "no-"
    if len(found) > 1:
        more = " or others" if len(found) > 3 else ""
        raise UserError(f"{option} may mean {' or '.join(found[:3])}{more}: give more of it")
    if not found:
        return word
    head, dot, last = found[0].removeprefix("--").rpartition(".")
    return f"--{head}{dot}{no}{last}{equals}{value}"


def options_ending(wanted: str, names: Iterable[str]) -> list[str]:
    """The option of that name, or else all that end so: first behind a dot, then with dashes for dots."""
    if f"--{wanted}" in names:
        return [f"--{wanted}"]
    plain = f"-{wanted.replace('.', '-')}"
    found = [name for name in names if name.endswith(f".{wanted}")]
    return found or [name for name in names if name.replace(".", "-").endswith(plain)]


def _explain(word: str, names: Iterable[str], prog: str) -> str:
    """Explain a word that is no option, with the one that was meant."""
    if os.path.isfile(word):  # the shell expanded a pattern
        return f"unexpected {word}: put a pattern into quotes: --data 'train-*.tar'"
    if not word.startswith("-"):
        return f"unexpected {word}: a recipe comes first, then options as --name value"
    option = word.split("=")[0].replace("_", "-")
    if option in ("--run", "--recipe", "--config"):
        return f"unknown option {option}: give it first and without {option}: {prog.rpartition(' ')[0]} NAME"
    hint = suggest(option, names, otherwise=f"{prog} --help lists the options")
    return f"unknown option {word}: {hint}"
