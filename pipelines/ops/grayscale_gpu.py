"""Turning gray on the GPU."""

from __future__ import annotations

import triton
import triton.language as tl

from pipelines.ops.gpu_row import word_of
from pipelines.ops.grayscale import GRAY_WEIGHTS

_GRAYSCALE = word_of("grayscale")
_RED, _GREEN, _BLUE = (tl.constexpr(weight) for weight in GRAY_WEIGHTS)


@triton.jit
def gray_of(red, green, blue):
    """The gray of each pixel."""
    return red * _RED + green * _GREEN + blue * _BLUE


@triton.jit
def apply(red, green, blue, row):
    """See ``PointOp``."""
    if tl.load(row + _GRAYSCALE) != 0:
        red = gray_of(red, green, blue)
        green = red
        blue = red
    return red, green, blue
