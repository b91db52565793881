"""Variants of recipes: the same but for a few fields, as the rows of a paper's table are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from fastssl.config import Config, Paper
from fastssl.recipes.papers import linear_top1

Recipe = Callable[[], Config]
_Fields = TypeVar("_Fields")


def variant(
    base: Recipe,
    recipe: str,
    place: str,
    number: float | None,
    changes: Mapping[str, Any],
    title: str | None = None,
) -> Config:
    """Config of a recipe with changes.

    Args:
        base: the recipe that it starts from.
        recipe: name of the new one.
        place: its row of the paper.
        number: linear top-1 there; None: the paper does not state it.
        changes: fields of the experiment, ``optimizer.base_lr`` for instance, and their values.
        title: title of the paper, if it is not that of ``base``.
    """
    before = base()
    assert before.paper is not None
    return replace(
        before,
        recipe=recipe,
        paper=Paper(title=title or before.paper.title, place=place, results=linear_top1(number)),
        measured=None,
        experiment=with_changes(before.experiment, changes),
    )


def variant_recipe(
    base: Recipe, suffix: str, place: str, number: float | None, changes: Mapping[str, Any]
) -> Recipe:
    """Recipe of a ``variant``, named after its base: ``byol-SUFFIX-imagenet`` of ``byol-imagenet``."""
    method, _, data = base().recipe.rpartition("-")
    return partial(variant, base, f"{method}-{suffix}-{data}", place, number, changes)


def with_changes(value: _Fields, changes: Mapping[str, Any]) -> _Fields:
    """A dataclass with other values in some fields, all at once; ``a.b`` is field b of field a.

    Raises:
        TypeError: there is no such field.
        UserError: the new values do not fit together.
    """
    own: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for path, new in changes.items():
        name, _, rest = path.partition(".")
        if rest:
            parts.setdefault(name, {})[rest] = new
        else:
            own[name] = new
    for name, inner in parts.items():
        own[name] = with_changes(getattr(value, name), inner)
    return replace(value, **own)  # type: ignore[type-var]
