"""The interface of an operation on views: each file of this folder implements it.

``pipelines.ops`` names the operations, in their order. From there on nothing else lists them: specs, rows,
``draw``, the reference and both fast renderers go through that order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from pipelines.command.errors import UserError
from pipelines.command.ranges import check_ranges
from pipelines.files.kernels import njit
from pipelines.keys import to_uniform


@dataclass(frozen=True)
class Field:
    """One field of a row of VIEW_PARAMETERS, 4 bytes per number."""

    name: str
    kind: Literal["i4", "f4"]
    neutral: float | tuple[float, ...]
    """The value that changes nothing; a tuple: the field is a vector."""


class Op:
    """An operation on a view. A subclass is a frozen dataclass, its spec: options by torchvision's names.

    Every option has a default, and the default spec changes nothing (a crop always cuts something).
    Triton's part stands in a file of its own, ``solarize_gpu.py`` beside ``solarize.py``.
    """

    fields: ClassVar[tuple[Field, ...]]
    """Fields that the operation adds to a row."""
    streams: ClassVar[tuple[int, ...]]
    """Ids of its random streams. Never renumber: a number is part of every view ever drawn. Rows list
    operations by these ids, so that a new operation's fields come last."""
    draw: ClassVar[Callable[..., None]]
    """Compiled: draw(values, size, height, width, key, row) sets the operation's fields of a row, which is
    neutral before. ``values`` is the spec's ``values()``, a float64 vector; ``size`` the view's side,
    ``height`` and ``width`` the image's; ``key`` the hash of (seed, epoch, sample, view)."""
    numba: ClassVar[Callable[..., Any]]
    """Compiled: the operation in 16-bit fixed point (``fixed_point``). Of a PointOp: as said there."""
    finished: ClassVar[bool] = False
    """True if it works on the normalized view; all others come before color space and normalization."""

    def __post_init__(self) -> None:
        check_ranges(self, f"view {type(self).__name__} ")

    def values(self) -> tuple[float, ...]:
        """The spec as numbers for ``draw``: its options in order, pairs one after the other."""
        options = (getattr(self, field.name) for field in dataclasses.fields(self))  # type: ignore[arg-type]
        pairs = (option if isinstance(option, tuple) else (option,) for option in options)
        return tuple(float(number) for pair in pairs for number in pair if not isinstance(number, str))

    def check(self, size: int) -> None:
        """Raise a UserError if the spec does not fit views of ``size`` pixels."""

    @staticmethod
    def reference(view: torch.Tensor, row: np.void, size: int) -> torch.Tensor:
        """The definition: what a row makes of a view, float32 [3, S, S] in [0, 1]. Leaves ``view`` untouched.

        Args:
            view: RGB before normalization, else the finished view; the whole image for a crop.
            row: of VIEW_PARAMETERS.
            size: S, side of the view.
        """
        raise NotImplementedError

    def _require(self, fits: bool, name: str, rule: str) -> None:
        """Raise a UserError that names an option, unless it ``fits`` the rule."""
        if not fits:
            option = f"{type(self).__name__} {name}"
            raise UserError(f"view {option} must {rule}, not {getattr(self, name)}")

    def _require_rising(self, *names: str) -> None:
        for name in names:
            low, high = getattr(self, name)
            self._require(low <= high, name, "be two numbers with first <= second")


class PointOp(Op):
    """An operation on each pixel's color by itself. Renderers apply it where it stands in the order.

    ``numba(words, plane_words, begin, count, colors, row)`` changes pixels ``begin`` to ``begin + count`` of
    the planes, which lie ``plane_words`` apart, in place. ``colors`` is 3, or 1 where only the first plane is
    right and stands for all three, as of a gray view; it returns what it leaves, the same for all pieces.
    ``apply(red, green, blue, row)`` of its Triton file returns the colors of pixels, in [0, WHITE].
    """


class ChannelOp(Op):
    """An operation on each pixel's three normalized channels by themselves, after ``ChannelJitter``.

    ``numba(first, second, third, row)`` returns what the channels of a pixel become, float32; likewise
    ``apply`` of its Triton file.
    """

    finished: ClassVar[bool] = True


class PlaceOp(Op):
    """An operation that moves the pixels of the finished view or blanks them; it changes no other value.

    ``numba(numbers, size, fill, row)`` works in place on a view [S * S * 3] in any number format; ``fill`` is
    the three numbers of a blank pixel. ``apply(y, x, shown, row, SIZE)`` of its Triton file returns the
    places that pixels go to, no two to one, and which of them are shown. One that moves pixels moves targets
    too (``pipelines.dense.view.placement_of``).
    """

    finished: ClassVar[bool] = True


@njit(cache=True)
def between(state: np.uint64, low: float, high: float) -> float:
    """A hash as a float64 in [low, high)."""
    return low + (high - low) * to_uniform(state)
