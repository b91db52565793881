"""Shifting the finished view on the GPU."""

from __future__ import annotations

import triton
import triton.language as tl

from pipelines.ops.gpu_row import word_of

_DOWN, _RIGHT = word_of("shift_down"), word_of("shift_right")


@triton.jit
def apply(y, x, shown, row, SIZE: tl.constexpr):
    """See ``PlaceOp``. Pixels that leave the view come in again on its other side, blank."""
    y = y + tl.load(row + _DOWN)
    x = x + tl.load(row + _RIGHT)
    shown = shown & (y >= 0) & (y < SIZE) & (x >= 0) & (x < SIZE)
    return (y + SIZE) % SIZE, (x + SIZE) % SIZE, shown
