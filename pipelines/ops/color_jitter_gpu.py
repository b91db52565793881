"""Color jitter on the GPU, of pixels in registers, in [0, WHITE]."""

from __future__ import annotations

import triton
import triton.language as tl

from pipelines.ops.color_jitter import CONTRAST_PART
from pipelines.ops.gpu_row import WHITE, clamp, number, word_of
from pipelines.ops.grayscale_gpu import gray_of

_ORDER, _AMOUNT = word_of("order"), word_of("brightness")  # amounts lie in the order of the parts' numbers
_CONTRAST, _SATURATION, _HUE = tl.constexpr(CONTRAST_PART), tl.constexpr(2), tl.constexpr(3)


@triton.jit
def jitter(red, green, blue, row, begin, end, mean):
    """Parts ``begin`` to ``end`` of a row's color jitter; ``mean`` is the gray that contrast needs."""
    for position in range(begin, end):
        part = tl.load(row + _ORDER + position)
        amount = number(row + part, _AMOUNT)
        if part == _HUE:
            if amount != 0:
                red, green, blue = _turn_hue(red, green, blue, amount)
        elif amount != 1:
            base = tl.where(part == _CONTRAST, mean, 0.0)
            base = tl.where(part == _SATURATION, gray_of(red, green, blue), base) * (1.0 - amount)
            red = clamp(amount * red + base, WHITE)
            green = clamp(amount * green + base, WHITE)
            blue = clamp(amount * blue + base, WHITE)
    return red, green, blue


@triton.jit
def _turn_hue(red, green, blue, shift):
    """HSV's hue turned by ``shift`` in [-0.5, 0.5] turns, value and saturation kept.

    Hue is a position on a ring of six sides, each as long as the chroma c = max - min: red's peak at 0,
    green's at 2 c, blue's at 4 c. Along the ring each channel is a ramp between min and max, so that
    turning needs no division.
    """
    high = tl.maximum(tl.maximum(red, green), blue)
    low = tl.minimum(tl.minimum(red, green), blue)
    chroma = high - low
    from_blue, from_green = 4 * chroma + red - green, 2 * chroma + blue - red
    position = tl.where(high == red, green - blue, tl.where(high == green, from_green, from_blue))
    position += 6 * shift * chroma
    position = tl.where(position < 0, position + 6 * chroma, position)
    position = tl.where(position >= 6 * chroma, position - 6 * chroma, position)
    red = low + clamp(tl.abs(position - 3 * chroma) - chroma, chroma)
    green = low + clamp(2 * chroma - tl.abs(position - 2 * chroma), chroma)
    blue = low + clamp(2 * chroma - tl.abs(position - 4 * chroma), chroma)
    return red, green, blue
