"""A recipe in a file of the user's: ``python -m fastssl.train mine.py:my_recipe``.

The function takes no arguments and returns a ``fastssl.config.Config``. Its name is the recipe's; the file
may define the method that it trains (see ``fastssl.user_file`` for what is executed when).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fastssl.config import Config
from fastssl.config_values import from_dict, to_dict
from fastssl.user_file import read_user_file, recipe_function
from pipelines.command.errors import UserError


def recipe_of_file(path: Path, name: str) -> Config:
    """The config that a function of a file returns.

    Raises:
        UserError: no such file or function; it raises, or returns something else, or a config that could not
            be read again.
    """
    path = path.expanduser()
    file = read_user_file(path)
    config = recipe_function(file, name)()
    if not isinstance(config, Config):
        raise UserError(f"{path}:{name} returned {type(config).__name__}, no fastssl.config.Config")
    config = dataclasses.replace(config, recipe=name, user_file=file)
    again = from_dict(to_dict(config), f"the config of {path}:{name}")
    if again != config:
        raise UserError(f"{path}:{name}: the config reads back as another value: give plain values only")
    return config
