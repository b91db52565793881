"""Ranges of options: they stand in a field's type, are shown by --help, and are checked in one place.

::

    @dataclass(frozen=True, kw_only=True)
    class Options:
        epochs: Positive = 7

        def __post_init__(self) -> None:
            check_ranges(self)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from tyro.conf import arg

from pipelines.command.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Range:
    """Bounds of a number; infinity and NaN lie in no range."""

    above: float = -math.inf
    at_least: float = -math.inf
    below: float = math.inf
    at_most: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.above < value < self.below and self.at_least <= value <= self.at_most

    def __str__(self) -> str:
        bounds = {
            "above": self.above,
            "at least": self.at_least,
            "below": self.below,
            "at most": self.at_most,
        }
        words = [f"{name} {bound:g}" for name, bound in bounds.items() if math.isfinite(bound)]
        return " and ".join(words or ["finite"])

    def shown(self, default: str) -> str:
        """The end of an option's help."""
        return f"({self}; default: {default})"


_LARGEST = 1e12  # epochs, minutes: their counts of steps and seconds are still numbers
_POSITIVE, _NOT_NEGATIVE = Range(above=0), Range(at_least=0)
_FROM_ONE, _FROM_TWO = Range(at_least=1), Range(at_least=2)
_FEW, _HUNDRED = Range(at_least=1, at_most=1024), Range(at_least=0, at_most=100)
_VIEW_SIZE = Range(at_least=1, at_most=4096)
_SMALL, _PERCENT = Range(at_least=0, at_most=1024), Range(at_least=1, at_most=100)
_SHARE, _BELOW_ONE = Range(above=0, at_most=1), Range(at_least=0, below=1)
_WITHIN_ONE, _ZERO_TO_ONE = Range(above=0, below=1), Range(at_least=0, at_most=1)
_UP_TO_HALF = Range(at_least=0, at_most=0.5)
_TEMPERATURE = Range(at_least=1e-3, at_most=1e3)  # e to its inverse is a number
_CROP_SCALE, _CROP_RATIO = Range(at_least=1e-6, at_most=1), Range(at_least=0.01, at_most=100)
_BLUR_SIGMA = Range(at_least=0.01, at_most=1e3)
_COLOR_MEAN, _COLOR_STD = Range(at_least=-1e3, at_most=1e3), Range(at_least=1e-3, at_most=1e3)

Positive = Annotated[float, _POSITIVE, arg(help_behavior_hint=_POSITIVE.shown)]
PositiveOrNone = Annotated[float | None, _POSITIVE, arg(help_behavior_hint=_POSITIVE.shown)]
Positives = Annotated[tuple[float, ...], _POSITIVE, arg(help_behavior_hint=_POSITIVE.shown)]
Temperature = Annotated[float, _TEMPERATURE, arg(help_behavior_hint=_TEMPERATURE.shown)]
CropScale = Annotated[tuple[float, float], _CROP_SCALE, arg(help_behavior_hint=_CROP_SCALE.shown)]
CropRatio = Annotated[tuple[float, float], _CROP_RATIO, arg(help_behavior_hint=_CROP_RATIO.shown)]
BlurSigma = Annotated[tuple[float, float], _BLUR_SIGMA, arg(help_behavior_hint=_BLUR_SIGMA.shown)]
ColorMean = Annotated[tuple[float, float, float], _COLOR_MEAN, arg(help_behavior_hint=_COLOR_MEAN.shown)]
ColorStd = Annotated[tuple[float, float, float], _COLOR_STD, arg(help_behavior_hint=_COLOR_STD.shown)]
NotNegative = Annotated[float, _NOT_NEGATIVE, arg(help_behavior_hint=_NOT_NEGATIVE.shown)]
NotNegativeOrNone = Annotated[float | None, _NOT_NEGATIVE, arg(help_behavior_hint=_NOT_NEGATIVE.shown)]
Share = Annotated[float, _SHARE, arg(help_behavior_hint=_SHARE.shown)]
BelowOne = Annotated[float, _BELOW_ONE, arg(help_behavior_hint=_BELOW_ONE.shown)]
WithinOne = Annotated[float, _WITHIN_ONE, arg(help_behavior_hint=_WITHIN_ONE.shown)]
SharesWithinOne = Annotated[tuple[float, ...], _WITHIN_ONE, arg(help_behavior_hint=_WITHIN_ONE.shown)]
ZeroToOne = Annotated[float, _ZERO_TO_ONE, arg(help_behavior_hint=_ZERO_TO_ONE.shown)]
ZeroToOneOrNone = Annotated[float | None, _ZERO_TO_ONE, arg(help_behavior_hint=_ZERO_TO_ONE.shown)]
UpToHalf = Annotated[float, _UP_TO_HALF, arg(help_behavior_hint=_UP_TO_HALF.shown)]
Count = Annotated[int, _FROM_ONE, arg(help_behavior_hint=_FROM_ONE.shown)]
CountOrZero = Annotated[int, _NOT_NEGATIVE, arg(help_behavior_hint=_NOT_NEGATIVE.shown)]
CountOrNone = Annotated[int | None, _FROM_ONE, arg(help_behavior_hint=_FROM_ONE.shown)]
CountOrZeroOrNone = Annotated[int | None, _NOT_NEGATIVE, arg(help_behavior_hint=_NOT_NEGATIVE.shown)]
CountFromTwo = Annotated[int, _FROM_TWO, arg(help_behavior_hint=_FROM_TWO.shown)]
SmallCount = Annotated[int, _SMALL, arg(help_behavior_hint=_SMALL.shown)]
ViewSize = Annotated[int, _VIEW_SIZE, arg(help_behavior_hint=_VIEW_SIZE.shown)]
FewCount = Annotated[int, _FEW, arg(help_behavior_hint=_FEW.shown)]
ZeroToHundred = Annotated[float, _HUNDRED, arg(help_behavior_hint=_HUNDRED.shown)]
Percent = Annotated[int, _PERCENT, arg(help_behavior_hint=_PERCENT.shown)]
Counts = Annotated[tuple[int, ...], _FROM_ONE, arg(help_behavior_hint=_FROM_ONE.shown)]


def check_ranges(config: Any, prefix: str = "--") -> None:
    """Check the fields of a dataclass against the ranges and the ``Literal`` choices of their types.

    Args:
        config: instance of a dataclass.
        prefix: begin of its options' names, such as ``--optimizer.``; without dashes, of its fields' names.

    Raises:
        UserError: a value lies outside; the message names its option or field.
    """
    for name, rule in _rules(config.__class__).items():
        value = getattr(config, name)
        values = value if isinstance(value, tuple) else (value,)
        named = f"{prefix}{name.replace('_', '-') if prefix.startswith('-') else name}"
        if any(isinstance(each, int) and each >= 1 << 63 for each in values):
            raise UserError(f"{named} must be below 2^63, not {value}")
        if any(isinstance(each, float) and _LARGEST < each < math.inf for each in values):
            raise UserError(f"{named} must be at most {_LARGEST:g}, not {value}")
        if all(each is None or each in rule for each in values):
            continue
        words = f"one of {', '.join(map(str, rule))}" if isinstance(rule, tuple) else f"{rule}"
        if words != "finite" and any(isinstance(each, float) and not math.isfinite(each) for each in values):
            words = f"finite and {words}"
        given = " ".join(map(str, values))
        raise UserError(f"{named} must be {words}, not {given}")


@cache
def _rules(kind: type) -> dict[str, Range | tuple[Any, ...]]:
    """The range or the choices of each field that has any."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: rule for name, hint in hints.items() for rule in _rules_of(hint)}


def _rules_of(hint: Any) -> Iterator[Range | tuple[Any, ...]]:
    yield from (extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Range))
    if get_origin(hint) is Literal:
        yield get_args(hint)
    elif get_origin(hint) is tuple:  # of numbers with a range each, such as a height and a width
        for inner in get_args(hint):
            yield from _rules_of(inner)
