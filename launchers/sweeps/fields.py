"""Fields of a config by short names: ``num_negatives=16`` for experiment.method.loss.num_negatives."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastssl.command_line import option_names, options_ending
from fastssl.config import Config, families
from fastssl.fields import with_fields, with_kinds
from pipelines.command.errors import UserError
from pipelines.command.suggest import suggest

_SIZE = "size"  # pixels of the views of all groups, as training has it


def resolve(name: str, config: Config, option: str) -> str:
    """The path of a field, such as ``optimizer.base_lr``, from its end.

    Args:
        name: the path, or as much of its end as no other field has; ``optimizer`` and the like choose a kind,
            ``size`` is that of all views.
        option: the user's option, for messages.

    Raises:
        UserError: no field, or several, end so.
    """
    paths = [path.removeprefix("--").replace("-", "_") for path in option_names(config)]
    wanted = name.replace("-", "_")
    family, _, field = wanted.partition(".")
    kinds = families().get(family, {}).values()
    of_another_kind = any(field == each.name for kind in kinds for each in dataclasses.fields(kind))
    if wanted in {*paths, *families(), _SIZE} or of_another_kind:
        return wanted
    ending = options_ending(name.replace("_", "-"), option_names(config))
    found = [option.removeprefix("--").replace("-", "_") for option in ending]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{option} {name} may mean {' or '.join(found)}: give more of it")
    ends = {path.rpartition(".")[2]: path for path in paths}
    hint = suggest(wanted, [*ends, *paths], otherwise=f"{config.recipe} has {', '.join(ends)}")
    raise UserError(f"{option} {name}: {config.recipe} has no such field; {hint}")


def parse_value(text: str) -> Any:
    """A number, true, false, null or None, a list in brackets; whatever else is a string."""
    named = {"True": True, "False": False, "None": None}
    if text in named:
        return named[text]
    try:
        return json.loads(text)
    except ValueError:
        return text


def split_values(text: str) -> list[Any]:
    """``4,16,256``, or a list in brackets for values that hold commas: ``[[0.2, 1], [0.08, 1]]``."""
    if text.startswith("["):
        values = parse_value(text)
        if isinstance(values, list):
            return values
    return [parse_value(part.strip()) for part in text.split(",")]


@dataclass(frozen=True)
class Change:
    """A field's new value, and the option that asks for it, for messages."""

    path: str
    value: Any
    option: str


def read_changes(settings: Sequence[str], data: str, config: Config) -> list[Change]:
    """The changes that ``--set FIELD=VALUE ...`` and ``--data`` ask for; of one field the last counts.

    Raises:
        UserError: the config has no such field.
    """
    changes = []
    for setting in settings:
        name, text = split_setting(setting, "--set")
        changes.append(Change(resolve(name, config, "--set"), parse_value(text), f"--set {setting}"))
    return changes + ([Change("data", data, f"--data {data}")] if data else [])


def assign(config: Config, changes: Sequence[Change]) -> Config:
    """The config with other values in some fields, all at once: they may only fit together.

    Raises:
        UserError: the config refuses them. The message begins with the option without which the others
            would do, or with all of them.
    """
    try:
        return _assigned(config, changes)
    except UserError as error:
        reason = str(error).partition("is not a config of this fastssl: ")[2] or str(error)
        reason = reason.partition(" @ $")[0]  # the option says where
    guilty = [change for change in changes if _fits(config, [other for other in changes if other != change])]
    options = ", ".join(change.option for change in (guilty[:1] or changes))
    raise UserError(f"{options}: {reason}")


def _assigned(config: Config, changes: Sequence[Change]) -> Config:
    values = {change.path: change.value for change in changes}
    kinds = {path: str(value) for path, value in values.items() if path in families()}
    fields = {path: value for path, value in values.items() if path not in kinds}
    config = with_kinds(config, kinds)
    if _SIZE in fields:
        size = fields.pop(_SIZE)
        fields = {f"views.{group}.spec.size": size for group in range(len(config.experiment.views))} | fields
    return with_fields(config, fields, "it")


def _fits(config: Config, changes: Sequence[Change]) -> bool:
    try:
        _assigned(config, changes)
    except UserError:
        return False
    return True


def split_setting(setting: str, option: str) -> tuple[str, str]:
    """``name=value`` to its two sides.

    Raises:
        UserError: there is no name or no value.
    """
    name, equals, value = setting.partition("=")
    if not name or not equals or not value:
        raise UserError(f"{option} {setting}: give FIELD=VALUE, such as epochs=100")
    return name.strip(), value
