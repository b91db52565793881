"""Colours on the GPU: jitter, grey, solarize, L*a*b*, normalisation and Cutout of pixels in registers.

Second pass of the renderer, for views whose contrast changes: the mean grey, which the first pass summed up
tile by tile, is known. Formulas are those of ``pipelines.render.reference``, on numbers in [0, WHITE].
"""

from __future__ import annotations

import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]

from pipelines.render import gpu_table, reference
from pipelines.render.gpu_table import (
    AMOUNT,
    GREY,
    HOLE_LEFT,
    HOLE_SIZE,
    HOLE_TOP,
    ORDER,
    RADIUS,
    ROW_WORDS,
    SCALE,
    SHIFT,
    SLOT,
    SPLIT,
    THRESHOLD,
    number,
)

_WHITE = tl.constexpr(float(gpu_table.WHITE))
_CONTRAST, _SATURATION, _HUE = tl.constexpr(1), tl.constexpr(2), tl.constexpr(3)  # numbers in ``order``
_RED, _GREEN, _BLUE = (tl.constexpr(weight) for weight in reference.GREY_WEIGHTS)
(_X_RED, _X_GREEN, _X_BLUE), (_Y_RED, _Y_GREEN, _Y_BLUE), (_Z_RED, _Z_GREEN, _Z_BLUE) = (
    tuple(tl.constexpr(factor) for factor in line) for line in reference.XYZ_FROM_RGB
)
_DARK = tl.constexpr((6 / 29) ** 3)  # where L*a*b*'s linear part ends
_DARK_SLOPE = tl.constexpr(1 / (3 * (6 / 29) ** 2))


@triton.jit
def adjust_views(  # type: ignore[no-untyped-def]
    views,
    rows,
    staged,
    partial_sums,
    out,
    SIZE: tl.constexpr,
    TILES: tl.constexpr,
    TILES_POWER: tl.constexpr,
    BLOCK: tl.constexpr,
    LAB: tl.constexpr,
):
    """A block of pixels of one view, from contrast on: finished, or staged again where blur follows.

    Args:
        views: int32, numbers of the views whose contrast changes.
        rows, staged, partial_sums, out, SIZE, LAB: of ``resample_views``.
        TILES: of ``partial_sums``; TILES_POWER: the power of 2 from there on.
        BLOCK: pixels, a power of 2.
    """
    BLOCKS: tl.constexpr = (SIZE * SIZE + BLOCK - 1) // BLOCK
    view = tl.load(views + tl.program_id(0) // BLOCKS)
    pixel = tl.program_id(0) % BLOCKS * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < SIZE * SIZE
    row = rows + view * ROW_WORDS
    slot = tl.load(row + SLOT)
    tile = tl.arange(0, TILES_POWER)
    sums = tl.load(partial_sums + slot * TILES + tile, mask=tile < TILES, other=0.0)
    mean = tl.sum(sums) / (SIZE * SIZE)  # in one order, whatever ran first: repeatable to the bit
    place = staged + slot.to(tl.int64) * (3 * SIZE * SIZE) + 3 * pixel
    red = tl.load(place, mask=inside, other=0).to(tl.float32)
    green = tl.load(place + 1, mask=inside, other=0).to(tl.float32)
    blue = tl.load(place + 2, mask=inside, other=0).to(tl.float32)
    red, green, blue = jitter(red, green, blue, row, tl.load(row + SPLIT), 4, mean)
    red, green, blue = to_grey(red, green, blue, row)
    if tl.load(row + RADIUS) > 0:
        stage(red, green, blue, staged, slot, pixel, inside, SIZE)
    else:
        finish(red, green, blue, row, out, view, pixel // SIZE, pixel % SIZE, inside, SIZE, LAB)


@triton.jit
def jitter(red, green, blue, row, begin, end, mean):  # type: ignore[no-untyped-def]
    """Parts ``begin`` to ``end`` of a row's colour jitter; ``mean`` is the grey that contrast needs."""
    for place in range(begin, end):
        part = tl.load(row + ORDER + place)
        amount = number(row + part, AMOUNT)
        if part == _HUE:
            if amount != 0:
                red, green, blue = _turn_hue(red, green, blue, amount)
        elif amount != 1:
            base = tl.where(part == _CONTRAST, mean, 0.0)
            base = tl.where(part == _SATURATION, grey_of(red, green, blue), base) * (1.0 - amount)
            red = _clamp(amount * red + base, _WHITE)
            green = _clamp(amount * green + base, _WHITE)
            blue = _clamp(amount * blue + base, _WHITE)
    return red, green, blue


@triton.jit
def _turn_hue(red, green, blue, shift):  # type: ignore[no-untyped-def]
    """HSV's hue turned by ``shift`` in [-0.5, 0.5] turns, value and saturation kept.

    Hue is a place on a ring of six sides, each as long as the chroma c = max - min: red's peak at 0,
    green's at 2 c, blue's at 4 c. Along the ring each channel is a ramp between min and max, so that
    turning needs no division.
    """
    high = tl.maximum(tl.maximum(red, green), blue)
    low = tl.minimum(tl.minimum(red, green), blue)
    chroma = high - low
    from_blue, from_green = 4 * chroma + red - green, 2 * chroma + blue - red
    place = tl.where(high == red, green - blue, tl.where(high == green, from_green, from_blue))
    place += 6 * shift * chroma
    place = tl.where(place < 0, place + 6 * chroma, place)
    place = tl.where(place >= 6 * chroma, place - 6 * chroma, place)
    red = low + _clamp(tl.abs(place - 3 * chroma) - chroma, chroma)
    green = low + _clamp(2 * chroma - tl.abs(place - 2 * chroma), chroma)
    blue = low + _clamp(2 * chroma - tl.abs(place - 4 * chroma), chroma)
    return red, green, blue


@triton.jit
def _clamp(value, high):  # type: ignore[no-untyped-def]
    return tl.minimum(tl.maximum(value, 0.0), high)


@triton.jit
def grey_of(red, green, blue):  # type: ignore[no-untyped-def]
    """The grey of each pixel."""
    return red * _RED + green * _GREEN + blue * _BLUE


@triton.jit
def to_grey(red, green, blue, row):  # type: ignore[no-untyped-def]
    """Each pixel's grey in all three channels, if the row says so."""
    if tl.load(row + GREY) != 0:
        red = grey_of(red, green, blue)
        green = red
        blue = red
    return red, green, blue


@triton.jit
def stage(red, green, blue, staged, slot, pixel, inside, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Keep pixels for a later pass, rounded to uint16."""
    place = staged + slot.to(tl.int64) * (3 * SIZE * SIZE) + 3 * pixel
    tl.store(place, to_word(red), mask=inside)
    tl.store(place + 1, to_word(green), mask=inside)
    tl.store(place + 2, to_word(blue), mask=inside)


@triton.jit
def to_word(value):  # type: ignore[no-untyped-def]
    """The nearest uint16 of a value in [0, WHITE]."""
    return (value + 0.5).to(tl.int32).to(tl.uint16)


@triton.jit
def finish(red, green, blue, row, out, view, y, x, inside, SIZE: tl.constexpr, LAB: tl.constexpr):  # type: ignore[no-untyped-def]
    """From solarize on; pixels (y, x) of a view are written, rounded to the type of ``out``."""
    threshold = number(row, THRESHOLD)
    if threshold <= 1:
        red = _solarize(red, threshold)
        green = _solarize(green, threshold)
        blue = _solarize(blue, threshold)
    if LAB:
        red, green, blue = _to_lab(red, green, blue)
    below, beyond = y - tl.load(row + HOLE_TOP), x - tl.load(row + HOLE_LEFT)
    hole = tl.load(row + HOLE_SIZE)
    kept = (below < 0) | (below >= hole) | (beyond < 0) | (beyond >= hole)
    place = out + view.to(tl.int64) * (3 * SIZE * SIZE) + (y * SIZE + x) * 3
    tl.store(place, tl.where(kept, _normalize(red, row, 0), 0.0), mask=inside)
    tl.store(place + 1, tl.where(kept, _normalize(green, row, 1), 0.0), mask=inside)
    tl.store(place + 2, tl.where(kept, _normalize(blue, row, 2), 0.0), mask=inside)


@triton.jit
def _solarize(value, threshold):  # type: ignore[no-untyped-def]
    return tl.where(value >= threshold * _WHITE, _WHITE - value, value)


@triton.jit
def _normalize(value, row, CHANNEL: tl.constexpr):  # type: ignore[no-untyped-def]
    return value * number(row + CHANNEL, SCALE) + number(row + CHANNEL, SHIFT)


@triton.jit
def _to_lab(red, green, blue):  # type: ignore[no-untyped-def]
    """L / 100, (a + 128) / 255, (b + 128) / 255 in [0, WHITE], of sRGB in [0, WHITE]."""
    red, green, blue = _to_linear(red), _to_linear(green), _to_linear(blue)
    x = _root(red * _X_RED + green * _X_GREEN + blue * _X_BLUE)
    y = _root(red * _Y_RED + green * _Y_GREEN + blue * _Y_BLUE)
    z = _root(red * _Z_RED + green * _Z_GREEN + blue * _Z_BLUE)
    light = (1.16 * y - 0.16) * _WHITE
    return light, (500 * (x - y) + 128) * (_WHITE / 255), (200 * (y - z) + 128) * (_WHITE / 255)


@triton.jit
def _to_linear(value):  # type: ignore[no-untyped-def]
    """Inverse of sRGB's transfer function, IEC 61966-2-1: from [0, WHITE] to [0, 1]."""
    value = value / _WHITE
    power = tl.exp2(2.4 * tl.log2((value + 0.055) / 1.055))
    return tl.where(value <= 0.04045, value / 12.92, power)


@triton.jit
def _root(value):  # type: ignore[no-untyped-def]
    """The cube root, with CIE 15's linear part."""
    root = tl.exp2(tl.log2(tl.maximum(value, _DARK)) / 3)
    return tl.where(value > _DARK, root, value * _DARK_SLOPE + 4 / 29)
