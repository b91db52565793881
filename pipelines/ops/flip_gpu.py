"""Mirroring on the GPU."""

from __future__ import annotations

import triton
import triton.language as tl

from pipelines.ops.gpu_row import word_of

_FLIP = word_of("flip")


@triton.jit
def mirrored(x, row, SIZE: tl.constexpr):
    """The column of the view before it was mirrored, if the row says so, that now is column ``x``."""
    return tl.where(tl.load(row + _FLIP) != 0, SIZE - 1 - x, x)
