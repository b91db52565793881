"""``python -m fastssl.train [RECIPE | CONFIG.json] [options]`` to a config."""

from __future__ import annotations

from pathlib import Path

import tyro

from fastssl.config import Config, read_config
from fastssl.recipes import RECIPES, find_recipe

DEFAULT_RECIPE = "quickstart"


def parse(argv: list[str]) -> Config:
    """The config that a command line names: a recipe (or the config.json of a run) and what it overrides.

    Raises:
        UserError: unknown recipe, unreadable config, or a value that a config refuses.
        SystemExit: status 2 for options that do not exist (the message names the nearest), 0 for --help.
    """
    rest = list(argv)
    name = rest.pop(0) if rest and not rest[0].startswith("-") else DEFAULT_RECIPE
    base = read_config(Path(name)) if name.endswith(".json") else find_recipe(name)
    return tyro.cli(
        Config,
        prog=f"python -m fastssl.train {name}",
        description=(
            f"Pre-train an encoder by the recipe {name}. Usage: python -m fastssl.train "
            f"[RECIPE | CONFIG.json] [options]; without a recipe, {DEFAULT_RECIPE}.\n\nRecipes: {', '.join(RECIPES)}."
        ),
        default=base,
        args=rest,
    )
