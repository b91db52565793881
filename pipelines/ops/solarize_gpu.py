"""Solarization on the GPU."""

from __future__ import annotations

import triton
import triton.language as tl

from pipelines.ops.gpu_row import WHITE, number, word_of

_THRESHOLD = word_of("solarize_threshold")


@triton.jit
def apply(red, green, blue, row):
    """See ``PointOp``."""
    threshold = number(row, _THRESHOLD)
    if threshold <= 1:
        red = _invert(red, threshold)
        green = _invert(green, threshold)
        blue = _invert(blue, threshold)
    return red, green, blue


@triton.jit
def _invert(value, threshold):
    return tl.where(value >= threshold * WHITE, WHITE - value, value)
