"""Jitter of finished channels on the GPU."""

from __future__ import annotations

import triton
import triton.language as tl

from pipelines.ops.gpu_row import number, word_of

_SCALE, _SHIFT = word_of("channel_scale"), word_of("channel_shift")


@triton.jit
def jittered(first, second, third, row):
    """The channels of normalized pixels, scaled and shifted by the row."""
    return _moved(first, row, 0), _moved(second, row, 1), _moved(third, row, 2)


@triton.jit
def _moved(value, row, CHANNEL: tl.constexpr):
    return value * number(row + CHANNEL, _SCALE) + number(row + CHANNEL, _SHIFT)
