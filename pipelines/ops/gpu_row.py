"""A row of VIEW_PARAMETERS as Triton's functions read it: int32 words in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import triton
import triton.language as tl

from pipelines.ops import VIEW_PARAMETERS

# Kernels count in 1/257 of a gray level, in which bytes, and what is staged as uint16, are whole numbers.
WHITE = tl.constexpr(65535.0)


def word_of(field: str, row: np.dtype = VIEW_PARAMETERS) -> Any:
    """The word of a row where a field begins, as compiled code may use it."""
    assert row.fields is not None
    return tl.constexpr(row.fields[field][1] // 4)


@triton.jit
def number(row, PLACE: tl.constexpr):
    """The float32 at a word of a row."""
    return tl.load(row + PLACE).to(tl.float32, bitcast=True)


@triton.jit
def clamp(value, high):
    """A value cut off below 0 and above ``high``."""
    return tl.minimum(tl.maximum(value, 0.0), high)
