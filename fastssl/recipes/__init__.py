"""Named recipes: functions that return a whole config. One file per family.

A config carries as data what it reproduces (``paper``) and what it reached here (``measured``; None: nobody
has run it to its end with this code). Settings come from that paper, or from the docstring's source. Forward
and backward pass run in bf16 where the device computes it natively; the papers ran in fp32 (--precision
fp32).
"""

from __future__ import annotations

from pathlib import Path

from fastssl.config import Config
from fastssl.recipes import (
    barlow_twins,
    byol,
    eqco,
    moco,
    msbreg,
    own_images,
    pretexts,
    small_images,
    supervised,
)
from fastssl.recipes.small_images import quickstart
from fastssl.recipes.user_recipe import recipe_of_file
from fastssl.recipes.variant import Recipe
from pipelines.command.errors import UserError
from pipelines.command.suggest import suggest

__all__ = ["RECIPES", "find_recipe", "quickstart"]

RECIPES: dict[str, Recipe] = {
    recipe().recipe: recipe
    for family in (small_images, own_images, moco, byol, barlow_twins, eqco, msbreg, supervised, pretexts)
    for recipe in family.RECIPES
}


def find_recipe(name: str) -> Config:
    """The config of a named recipe, or of a function in a file of the user's: ``mine.py:my_recipe``.

    Raises:
        UserError: there is none; the message names the nearest, and where all are listed.
    """
    file, _, function = name.rpartition(":") if ":" in name else (name, "", "")
    if file.endswith(".py"):
        return recipe_of_file(Path(file), function)
    if name in RECIPES:
        return RECIPES[name]()
    hint = suggest(name, RECIPES, form=" ({})")
    raise UserError(f"unknown recipe {name}{hint}: python -m fastssl.train --list shows all {len(RECIPES)}")
