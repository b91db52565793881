"""Crop and resize on the GPU.

A pixel of a view is a sum over all source pixels under its filter, rows and columns at once. With the
2 to 4 taps an axis of usual crops this takes hardly more operations than one axis after the other, needs no
intermediate image, and overlapping reads hit the caches. Places are whole numbers of 1/(2 SIZE) source
pixels, so that weights are those of PyTorch's ``interpolate(mode="bilinear", antialias=True)`` in exact
arithmetic: a triangle as wide as the scale, at least 1, normalized over the taps inside the box.
"""

from __future__ import annotations

import triton
import triton.language as tl

from pipelines.ops.flip_gpu import mirrored
from pipelines.ops.gpu_row import word_of

_TOP, _LEFT, _HEIGHT, _WIDTH = (word_of(name) for name in ("top", "left", "height", "width"))


@triton.jit
def resample(image, image_height, image_width, row, y, x, SIZE: tl.constexpr):
    """Red, green and blue in [0, WHITE] of a view at rows ``y`` and columns ``x``, all of one shape."""
    y, x = tl.minimum(y, SIZE - 1), tl.minimum(x, SIZE - 1)
    x = mirrored(x, row, SIZE)
    top, height = tl.load(row + _TOP), tl.load(row + _HEIGHT)
    left, width = tl.load(row + _LEFT), tl.load(row + _WIDTH)
    source_y, offset_y = _first_tap(y, top, height, SIZE)
    first_x, offset_x = _first_tap(x, left, width, SIZE)
    slope_y, slope_x = 0.5 / tl.maximum(height, SIZE), 0.5 / tl.maximum(width, SIZE)
    low_y, high_y = _overlap(top, height, image_height)
    low_x, high_x = _overlap(left, width, image_width)
    taps_x = _tap_count(width, SIZE)

    total_y, total_x = tl.zeros_like(y).to(tl.float32), tl.zeros_like(x).to(tl.float32)
    source_x = first_x
    for _ in range(taps_x):
        total_x += tl.where(source_x < left + width, _weight(source_x, offset_x, slope_x, SIZE), 0.0)
        source_x += 1
    red, green, blue = tl.zeros_like(total_x), tl.zeros_like(total_x), tl.zeros_like(total_x)
    for _ in range(_tap_count(height, SIZE)):
        weight_y = _weight(source_y, offset_y, slope_y, SIZE)
        total_y += tl.where(source_y < top + height, weight_y, 0.0)
        inside_y = tl.minimum(tl.maximum(source_y, low_y), high_y)
        weight_y = tl.where(source_y == inside_y, weight_y, 0.0)
        line = image + inside_y * (3 * image_width)
        source_x = first_x
        for _ in range(taps_x):
            weight_x = _weight(source_x, offset_x, slope_x, SIZE)
            inside_x = tl.minimum(tl.maximum(source_x, low_x), high_x)
            weight = weight_y * tl.where(source_x == inside_x, weight_x, 0.0)
            address = line + 3 * inside_x
            red += weight * tl.load(address).to(tl.float32)
            green += weight * tl.load(address + 1).to(tl.float32)
            blue += weight * tl.load(address + 2).to(tl.float32)
            source_x += 1
        source_y += 1
    gain = (257.0 / total_y) * (1.0 / total_x)  # 257: from [0, 255] to [0, WHITE]
    return red * gain, green * gain, blue * gain


@triton.jit
def _tap_count(box, SIZE: tl.constexpr):
    """The most source pixels under the triangle of one output pixel; 1 where nothing is resized."""
    count = (2 * tl.maximum(box, SIZE) + SIZE - 1) // SIZE
    return tl.where(box == SIZE, 1, tl.minimum(box, count))


@triton.jit
def _first_tap(position, begin, box, SIZE: tl.constexpr):
    """The image's first pixel under a triangle, and what ``_weight`` needs to know of its center."""
    center = (2 * position + 1) * box
    first = begin + tl.maximum(center - 2 * tl.maximum(box, SIZE) + SIZE, 0) // (2 * SIZE)
    return first, SIZE - center - begin * (2 * SIZE)


@triton.jit
def _weight(source, offset, slope, SIZE: tl.constexpr):
    """The triangle's height at a pixel of the image."""
    distance = (source * (2 * SIZE) + offset).to(tl.float32)
    return tl.maximum(1.0 - tl.abs(distance) * slope, 0.0)


@triton.jit
def _overlap(begin, box, image_side):
    """The first and the last pixel of the image that lie in the box; if none do, some that do not."""
    low = tl.minimum(tl.maximum(begin, 0), image_side - 1)
    return low, tl.minimum(tl.maximum(begin + box - 1, 0), image_side - 1)
