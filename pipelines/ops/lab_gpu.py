"""CIE L*a*b* on the GPU."""

from __future__ import annotations

import triton
import triton.language as tl

from pipelines.ops.gpu_row import WHITE
from pipelines.ops.lab import XYZ_FROM_RGB

(_X_RED, _X_GREEN, _X_BLUE), (_Y_RED, _Y_GREEN, _Y_BLUE), (_Z_RED, _Z_GREEN, _Z_BLUE) = (
    tuple(tl.constexpr(factor) for factor in line) for line in XYZ_FROM_RGB
)
_DARK = tl.constexpr((6 / 29) ** 3)  # where L*a*b*'s linear part ends
_DARK_SLOPE = tl.constexpr(1 / (3 * (6 / 29) ** 2))


@triton.jit
def to_lab(red, green, blue):
    """L / 100, (a + 128) / 255, (b + 128) / 255 in [0, WHITE], of sRGB in [0, WHITE]."""
    red, green, blue = _to_linear(red), _to_linear(green), _to_linear(blue)
    x = _root(red * _X_RED + green * _X_GREEN + blue * _X_BLUE)
    y = _root(red * _Y_RED + green * _Y_GREEN + blue * _Y_BLUE)
    z = _root(red * _Z_RED + green * _Z_GREEN + blue * _Z_BLUE)
    light = (1.16 * y - 0.16) * WHITE
    return light, (500 * (x - y) + 128) * (WHITE / 255), (200 * (y - z) + 128) * (WHITE / 255)


@triton.jit
def _to_linear(value):
    """Inverse of sRGB's transfer function, IEC 61966-2-1: from [0, WHITE] to [0, 1]."""
    value = value / WHITE
    power = tl.exp2(2.4 * tl.log2((value + 0.055) / 1.055))
    return tl.where(value <= 0.04045, value / 12.92, power)


@triton.jit
def _root(value):
    """The cube root, with CIE 15's linear part."""
    root = tl.exp2(tl.log2(tl.maximum(value, _DARK)) / 3)
    return tl.where(value > _DARK, root, value * _DARK_SLOPE + 4 / 29)
