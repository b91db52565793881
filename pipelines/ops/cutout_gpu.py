"""Cutout on the GPU."""

from __future__ import annotations

import triton
import triton.language as tl

from pipelines.ops.gpu_row import word_of

_TOP, _LEFT, _SIZE = (word_of(f"cutout_{name}") for name in ("top", "left", "size"))


@triton.jit
def apply(y, x, shown, row, SIZE: tl.constexpr):
    """See ``PlaceOp``."""
    below, beyond = y - tl.load(row + _TOP), x - tl.load(row + _LEFT)
    hole = tl.load(row + _SIZE)
    return y, x, shown & ((below < 0) | (below >= hole) | (beyond < 0) | (beyond >= hole))
