"""Color noise along principal components on the GPU."""

from __future__ import annotations

import triton
import triton.language as tl

from pipelines.ops.gpu_row import WHITE, clamp, number, word_of

_LIGHTING = word_of("lighting")


@triton.jit
def apply(red, green, blue, row):
    """See ``PointOp``."""
    return _shifted(red, row, 0), _shifted(green, row, 1), _shifted(blue, row, 2)


@triton.jit
def _shifted(value, row, COLOR: tl.constexpr):
    return clamp(value + number(row + COLOR, _LIGHTING) * WHITE, WHITE)
