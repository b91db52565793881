"""Fields of a config set by their paths, and other kinds of components: ``method=byol`` on any recipe."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fastssl.component import ComponentConfig
from fastssl.config import Config, Experiment, families
from fastssl.config_values import from_dict, to_dict
from pipelines.command.errors import UserError
from pipelines.views import ViewGroup


def leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Paths and values of the fields of plain values, such as ``to_dict``'s, through lists of tables too."""
    for name, value in values.items():
        if isinstance(value, list | tuple) and any(isinstance(part, dict) for part in value):
            value = {str(i): part for i, part in enumerate(value)}
        if isinstance(value, dict):
            yield from ((f"{name}.{path}", leaf) for path, leaf in leaves(value))
        else:
            yield name, value


def with_fields(config: Config, values: Mapping[str, Any], where: str) -> Config:
    """The config with other values in some fields, all at once: they may only fit together.

    Args:
        config: checked or not (``with_kinds``).
        values: by path, such as ``optimizer.base_lr`` or ``views.0.spec.size``; plain, as in JSON.
        where: their place, for messages.

    Raises:
        UserError: they do not fit, or there is no such field.
    """
    plain = to_dict(config)
    for path, value in values.items():
        *parents, last = path.split(".")
        container = plain["experiment" if path.split(".")[0] in plain["experiment"] else "machine"]
        for part in parents:
            container = container[int(part)] if isinstance(container, list | tuple) else container[part]
        container[last] = value
    return from_dict(plain, where)


def with_kinds(base: Config, kinds: Mapping[str, str]) -> Config:
    """The config with components of other kinds; whether all fits together is not checked yet.

    Another method has its own defaults, and as many views as it takes; another optimizer or backbone keeps
    the fields that both kinds have. Kinds are given by family: ``{"method": "byol"}``.

    Raises:
        UserError: no such kind.
    """
    if not kinds:
        return base
    values = {field.name: getattr(base.experiment, field.name) for field in dataclasses.fields(Experiment)}
    values |= {family: of_kind(values[family], family, kind) for family, kind in kinds.items()}
    values["views"] = _for_views(values["views"], values["method"].num_views)
    experiment = object.__new__(Experiment)  # unchecked: further fields may make it fit
    for name, value in values.items():
        object.__setattr__(experiment, name, value)
    return dataclasses.replace(base, experiment=experiment)


def of_kind(old: ComponentConfig, family: str, kind: str) -> ComponentConfig:
    """A component's config as another kind; ``resnet18`` is a resnet of depth 18."""
    known, own = families()[family], {}
    depth = re.fullmatch(r"resnet([0-9]+)", kind)
    if family == "backbone" and kind not in known and depth:
        kind, own = "resnet", {"depth": int(depth[1])}
    if kind not in known:
        raise UserError(f"--{family} takes {', '.join(known)}, not {kind}")
    if kind == old.kind:
        return dataclasses.replace(old, **own)
    if family != "method":
        names = {field.name for field in dataclasses.fields(known[kind])}
        both = (field.name for field in dataclasses.fields(old) if field.name in names)
        own = {name: getattr(old, name) for name in both} | own
    return known[kind](**own)


def _for_views(groups: tuple[ViewGroup, ...], count: int) -> tuple[ViewGroup, ...]:
    """Groups that make ``count`` views: as they are if they do, else dealt out evenly."""
    if not groups or sum(group.num_views for group in groups) == count:
        return groups
    used = groups[:count]
    share, more = divmod(count, len(used))
    return tuple(dataclasses.replace(group, num_views=share + (i < more)) for i, group in enumerate(used))
