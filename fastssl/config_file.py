"""Configs in files of the user's: a run's config.json, or some fields over a recipe in TOML or JSON.

::

    recipe = "quickstart"        # the only entry that must be there
    data = "photos"
    epochs = 100
    method = "byol"

    [optimizer]
    base_lr = 0.06
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

from fastssl.config import Config, families
from fastssl.config_values import read_config, to_dict
from fastssl.fields import leaves, with_fields, with_kinds
from fastssl.recipes import find_recipe
from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.command.suggest import suggest


def named_config(name: str) -> Config:
    """The config of a recipe, of ``mine.py:my_recipe``, or of a file; without a run folder of its own.

    Raises:
        UserError: there is none, or it does not fit.
    """
    path = user_path(name)
    if path.suffix not in (".json", ".toml"):
        return find_recipe(name)
    values = _read(path)
    config = read_config(path) if "config" in values else _over_a_recipe(path, values)
    return dataclasses.replace(config, machine=dataclasses.replace(config.machine, out=""))


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read the config {path}: {error}") from None
    if not isinstance(values, dict) or not {"config", "recipe"} & values.keys():
        raise UserError(
            f"{path} is not the config.json of a run, and names no recipe to start from, such as "
            'recipe = "quickstart"'
        )
    return values


def _over_a_recipe(path: Path, values: dict[str, Any]) -> Config:
    recipe = values.pop("recipe")
    if not isinstance(recipe, str):
        raise UserError(f"{path}: recipe must be a name, not {recipe!r}")
    kinds = {}
    for family in families():
        part = values.get(family)
        if isinstance(part, str):
            kinds[family] = values.pop(family)
        elif isinstance(part, dict) and "kind" in part:
            kinds[family] = str(part.pop("kind"))
    base = with_kinds(find_recipe(recipe), kinds)
    fields, plain = dict(leaves(values)), to_dict(base)
    known = dict(leaves(plain["experiment"] | plain["machine"]))
    for name in fields:
        if name not in known:
            hint = suggest(name, known, otherwise=f"{recipe} has {', '.join(dict.fromkeys(known))}")
            raise UserError(f"{path}: {name} is no field: {hint}")
    config = with_fields(base, fields, str(path))
    return dataclasses.replace(config, recipe=path.stem)
