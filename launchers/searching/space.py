"""Space of a search: the fields that vary, and the values that each may take."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fastssl.config import Config
from fastssl.config_values import to_dict
from launchers.sweeps.fields import Change, assign, resolve, split_setting, split_values
from launchers.sweeps.study import text_of
from pipelines.command.errors import UserError

Scale = Literal["log", "lin", "int"]
Choice = bool | int | float | str | None  # as Optuna keeps it; lists are JSON there


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """A field of the config that varies."""

    path: str
    """Path of the field, such as ``optimizer.base_lr``."""
    text: str
    """The user's words on its values, such as ``log:1e-4:1e-2``."""
    scale: Scale | None = None
    """Distribution between the bounds: log-uniform, uniform, or uniform over whole numbers; None: choices."""
    low: float = 0.0
    high: float = 0.0
    """The bounds, both included."""
    choices: tuple[Any, ...] = ()

    @property
    def axis(self) -> str:
        """Last name of the path."""
        return self.path.rpartition(".")[2]

    @property
    def kept_choices(self) -> list[Choice]:
        """The choices as Optuna keeps them: a list becomes its JSON."""
        return [json.dumps(each) if isinstance(each, list | dict) else each for each in self.choices]

    def value(self, kept: Any) -> Any:
        """Value of the field that Optuna keeps as ``kept``."""
        if self.scale is None:
            return self.choices[self.kept_choices.index(kept)]
        return int(kept) if self.scale == "int" else float(kept)

    def kept(self, value: Any) -> Any:
        """Optuna's word for a value of the field: the reverse of ``value``."""
        return self.kept_choices[self.choices.index(value)] if self.scale is None else value

    def share(self, value: Any) -> float:
        """Position of a value between the bounds, or among the choices, from 0 to 1."""
        if self.scale is None:
            return self.choices.index(value) / max(1, len(self.choices) - 1)
        low, high, at = self.low, self.high, float(value)
        if self.scale == "log":
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low)


def read_space(settings: Sequence[str], config: Config) -> tuple[Dimension, ...]:
    """The dimensions of ``--space FIELD=VALUES ...``, checked against a config.

    ``log:LOW:HIGH``, ``lin:LOW:HIGH`` and ``int:LOW:HIGH`` are intervals; ``0.07,0.1,0.2`` are choices.

    Raises:
        UserError: no such field, or one that has no say in the result; bounds that are no numbers, in the
            wrong order, or without logarithm; a value that the field refuses.
    """
    found: dict[str, Dimension] = {}
    for setting in settings:
        dimension = _dimension(setting, config)
        if dimension.path in found:
            raise UserError(f"--space names {dimension.path} twice: give all its values at once")
        found[dimension.path] = dimension
    if not found:
        raise UserError("give --space FIELD=VALUES, such as --space optimizer.base_lr=log:1e-4:1e-2")
    return tuple(found.values())


def changes(space: Sequence[Dimension], values: Mapping[str, Any]) -> list[Change]:
    """The changes that a trial makes to the search's config; ``values`` are by path."""
    return [
        Change(each.path, values[each.path], f"--space {each.path}={text_of(values[each.path])}")
        for each in space
    ]


def _dimension(setting: str, config: Config) -> Dimension:
    name, text = split_setting(setting, "--space")
    path = resolve(name, config, "--space")
    if path == "epochs":
        raise UserError("--space epochs: all trials are of one length; --set epochs=N says of which")
    if path.partition(".")[0] in to_dict(config)["machine"]:
        raise UserError(f"--space {path}: the field has no say in the result; --set {path}=VALUE changes it")
    dimension = dimension_of(path, text.strip())
    for value in _ends(dimension):
        assign(config, [Change(path, value, f"--space {path}={text_of(value)}")])
    return dimension


def dimension_of(path: str, text: str) -> Dimension:
    """A dimension by the path of its field and the user's words on its values.

    Raises:
        UserError: see ``read_space``; whether the field takes the values is not checked.
    """
    scale, colon, bounds = text.partition(":")
    if colon and scale in get_args(Scale):
        return _interval(path, text, scale, bounds)  # type: ignore[arg-type]
    choices = tuple(split_values(text))
    if len(choices) < 2 or len({json.dumps(choice) for choice in choices}) < len(choices):
        raise UserError(
            f"--space {path}={text}: give two values or more, each once, or log:LOW:HIGH, lin:LOW:HIGH, "
            "int:LOW:HIGH; --set sets a single one"
        )
    return Dimension(path=path, text=text, choices=choices)


def _interval(path: str, text: str, scale: Scale, bounds: str) -> Dimension:
    where, example = f"--space {path}={text}", f"{scale}:1:8" if scale == "int" else f"{scale}:1e-4:1e-2"
    try:
        low, high = map(float, bounds.split(":"))
    except ValueError:
        raise UserError(f"{where}: give two numbers, as in {example}") from None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(f"{where}: the bounds must be finite")
    if low >= high:
        raise UserError(f"{where}: the lower bound comes first, and is below the upper")
    if scale == "log" and low <= 0:
        raise UserError(f"{where}: {low:g} has no logarithm; give bounds above 0, or lin:{bounds}")
    if scale == "int" and not (low.is_integer() and high.is_integer()):
        raise UserError(f"{where}: the bounds must be whole numbers; lin:{bounds} is for others")
    return Dimension(path=path, text=text, scale=scale, low=low, high=high)


def _ends(dimension: Dimension) -> Iterator[Any]:
    """Bounds, or all choices, as values of the field."""
    if dimension.scale is None:
        yield from dimension.choices
    else:
        yield from map(dimension.value, (dimension.low, dimension.high))
