"""A config as plain values, the JSON of a run folder, and back: it reloads to an equal value."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import cattrs
from cattrs.errors import BaseValidationError
from cattrs.gen import make_dict_unstructure_fn
from cattrs.v import format_exception

from fastssl.component import Component, ComponentConfig, configs_by_kind
from fastssl.config import FAMILIES, Config, Experiment
from fastssl.user_file import UserFile, components, from_entry, to_entry
from pipelines.command.errors import UserError
from pipelines.ops import Op

VERSION = 3  # of the JSON; raise it when a field changes its meaning, or its name other than here
_FORMER_NAMES = {"machine": {"product": "cpu_output"}}  # by part of the config: as they were, as they are


@cache
def _converter(file: UserFile | None = None) -> cattrs.Converter:
    """Knows all families, and what the user's file adds to them."""
    if file is None:
        return _with_families(FAMILIES)
    families = dict(FAMILIES)
    for base, members in FAMILIES.items():
        own = components(file, base.component)
        for component in own:
            if component.Config.kind in configs_by_kind(members):
                kind, family = component.Config.kind, base.component.__name__
                raise UserError(
                    f"{file.path}: class {component.__name__}: fastssl has a {family} {kind}: rename yours"
                )
        families[base] = (*members, *own)
    return _with_families(families)


def _with_families(families: Mapping[type[ComponentConfig], tuple[type[Component], ...]]) -> cattrs.Converter:
    """A converter that is strict, and writes and reads the kind of a component beside its fields."""
    converter = cattrs.Converter(forbid_extra_keys=True)

    def structure_component(values: dict[str, Any], base: type[ComponentConfig]) -> ComponentConfig:
        known, kind = configs_by_kind(families[base]), values.get("kind")
        if kind not in known:
            raise UserError(f"{base.kind} kind must be one of {', '.join(known)}, not {kind!r}")
        fields = {name: value for name, value in values.items() if name != "kind"}
        return converter.structure(fields, known[kind])

    @cache  # cattrs writes and compiles a function
    def unstructure_fields(cls: type[ComponentConfig]) -> Callable[[ComponentConfig], dict[str, Any]]:
        return make_dict_unstructure_fn(cls, converter)

    def unstructure_component(config: ComponentConfig) -> dict[str, Any]:
        fields = unstructure_fields(type(config))  # type: ignore[arg-type]  # a class has a hash
        return {"kind": config.kind, **fields(config)}

    def structure_op(values: dict[str, Any], union: Any) -> Op:
        known = {op.kind: op for op in get_args(union)}
        if values.get("kind") not in known:
            raise UserError(f"kind must be one of {', '.join(known)}, not {values.get('kind')!r}")
        op: Op = converter.structure(values, known[values["kind"]])
        return op

    converter.register_structure_hook_func(lambda cls: cls in families, structure_component)
    converter.register_structure_hook_func(_is_union_of_ops, structure_op)
    converter.register_unstructure_hook_func(
        lambda cls: isinstance(cls, type) and issubclass(cls, tuple(families)), unstructure_component
    )
    for kind in (bool, int, float, str):
        converter.register_structure_hook(kind, _exactly)
    return converter


def _is_union_of_ops(cls: Any) -> bool:
    """True for the type of a view's operation with several kinds, crops for instance."""
    choices = get_args(cls)
    return len(choices) > 1 and all(isinstance(choice, type) and issubclass(choice, Op) for choice in choices)


def _exactly(value: Any, kind: type) -> Any:
    """A plain value as it stands: cattrs by itself would read "false" as True and 256.5 as 256."""
    fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits or isinstance(value, bool) != (kind is bool):
        raise UserError(f"{value!r} is no {kind.__name__}")
    return value


def _reason(error: BaseException, kind: type | None) -> str:
    if isinstance(error, AttributeError):
        return "expected an object of fields"
    reason = format_exception(error, kind)
    return str(error) if reason.startswith("unknown error") else reason  # a UserError, a bad Literal


def to_dict(config: Config) -> dict[str, Any]:
    """The config as plain lists, dictionaries, strings and numbers."""
    values = {"version": VERSION, **_converter().unstructure(config)}
    return values | {"user_file": config.user_file and to_entry(config.user_file)}


def from_dict(values: dict[str, Any], where: str, folder: Path | None = None) -> Config:
    """The config of ``to_dict``, from ``where``; the copy of a user's file in ``folder`` is executed.

    Raises:
        UserError: the JSON is of another version, or does not fit, or the user's file is missing or changed.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where} holds no config of a run")
    values = dict(values)
    version, entry = values.pop("version", None), values.pop("user_file", None)
    if version != VERSION:
        raise UserError(
            f"{where} is a config of version {version}, this fastssl reads version {VERSION}: "
            f"use the fastssl that wrote it, or start a new run folder"
        )
    for part, names in _FORMER_NAMES.items():
        if isinstance(values.get(part), dict):
            values[part] = {names.get(name, name): value for name, value in values[part].items()}
    file = None if entry is None else from_entry(entry, folder, where)
    try:
        return dataclasses.replace(_converter(file).structure(values, Config), user_file=file)
    except (BaseValidationError, TypeError, ValueError, KeyError) as error:
        reasons = cattrs.transform_error(error, format_exception=_reason)
        raise UserError(f"{where} is not a config of this fastssl: {reasons[0]}") from None


def read_config(path: Path, *, execute: bool = True) -> Config:
    """The config of a run folder's config.json (its other entries are left alone).

    A copy of a user's file beside it is executed, or the config refused where the user did not name this
    folder (``execute`` False).

    Raises:
        UserError: the file cannot be read or does not fit.
    """
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read the config {path}: {error}") from None
    if not isinstance(values, dict) or not isinstance(values.get("config"), dict):
        raise UserError(f"{path} is not the config.json of a run")
    return from_dict(values["config"], str(path), path.absolute().parent if execute else None)


def differing_fields(old: Experiment, new: Experiment) -> list[str]:
    """The fields in which two experiments differ, as ``optimizer.base_lr (0.06 became 0.03)``."""
    return differences("", _converter().unstructure(old), _converter().unstructure(new))


def differences(prefix: str, old: Any, new: Any) -> list[str]:
    """The leaves in which two plain values differ, as ``differing_fields``; ``prefix`` names the whole."""
    old, new = (dict(enumerate(v)) if isinstance(v, list | tuple) else v for v in (old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in old | new
            for line in differences(f"{prefix}.{key}", old.get(key, "absent"), new.get(key, "absent"))
        ]
    before, after = ("present" if isinstance(value, dict) else value for value in (old, new))
    return [] if old == new else [f"{prefix.lstrip('.')} ({before} became {after})"]
