"""Colour jitter in fixed point: brightness, contrast, saturation and hue in a view's own order, and grey.

A view is worked through in pieces that fit the first-level cache, all operations on one piece before the
next; contrast needs the mean grey of the whole view, and so makes two passes of one. Every operation is
torchvision's on float images, clamped to [0, WHITE] after each. All its numbers are 16 bits wide.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.render.fixed_point import WHITE, at, multiply_high

_PIECE = 2048  # pixels; three planes of it are 12 KiB
_NONE, _FULL = np.uint16(0), np.uint16(0xFFFF)
_RED, _GREEN, _BLUE = np.uint16(19589), np.uint16(38470), np.uint16(7471)  # 65536 (0.2989, 0.587, 0.114)
_CONTRAST = 1


@njit(cache=True, nogil=True)
def adjust(words, plane_words, pixels, row):  # type: ignore[no-untyped-def]
    """Colour jitter of a view in place, then grey, of which only the first plane is then right.

    Args:
        words: uint16 vector; colours lie at plane * plane_words + pixel.
        plane_words: from one plane to the next.
        pixels: of a plane.
        row: of VIEW_PARAMETERS.
    """
    if row.contrast == 1 and row.brightness == 1 and row.saturation == 1 and row.hue == 0 and not row.grey:
        return
    split = 4
    for place in range(4):
        if row.order[place] == _CONTRAST and row.contrast != 1:
            split = place
    total = 0
    for begin in range(0, pixels, _PIECE):
        red, count = begin, min(_PIECE, pixels - begin)
        green, blue = red + plane_words, red + 2 * plane_words
        for place in range(split):
            _apply(row, row.order[place], words, red, green, blue, count, 0.0)
        if split < 4:
            total += _grey_sum(words, red, green, blue, count)
        elif row.grey:
            _to_grey(words, red, green, blue, count)
    if split == 4:
        return
    mean = total / pixels
    for begin in range(0, pixels, _PIECE):
        red, count = begin, min(_PIECE, pixels - begin)
        green, blue = red + plane_words, red + 2 * plane_words
        for place in range(split, 4):
            _apply(row, row.order[place], words, red, green, blue, count, mean)
        if row.grey:
            _to_grey(words, red, green, blue, count)


@njit(cache=True)
def _apply(row, part, words, red, green, blue, count, mean):  # type: ignore[no-untyped-def]
    """One of the four parts of the jitter on one piece."""
    if part == 0:
        if row.brightness != 1:
            for plane in (red, green, blue):
                _scale(words, plane, count, row.brightness, 0.0)
    elif part == _CONTRAST:
        if row.contrast != 1:
            for plane in (red, green, blue):
                _scale(words, plane, count, row.contrast, (1 - row.contrast) * mean)
    elif part == 2:
        if row.saturation != 1:
            _saturate(words, red, green, blue, count, row.saturation)
    elif row.hue != 0:
        _turn_hue(words, red, green, blue, count, row.hue)


@njit(cache=True)
def _fraction(factor):  # type: ignore[no-untyped-def]
    """A factor of at least 0 as (weight in 1/32768, step), weight < 65536 and step a power of 2."""
    step = 1
    while factor >= 1.9999:
        factor /= 2
        step *= 2
    return np.uint16(factor * 32768 + 0.5), np.uint16(step)


@njit(cache=True, inline="always")
def _combine(value, weight, more, less, step):  # type: ignore[no-untyped-def]
    """``min((value * weight + more - less) * step, WHITE)``, and not below 0."""
    scaled = np.uint16(multiply_high(np.uint16(value + value), weight) + more)
    scaled = np.uint16(max(scaled, less) - less)
    return np.uint16(min(scaled, np.uint16(WHITE // step)) * step)


@njit(cache=True)
def _scale(words, plane, count, factor, offset):  # type: ignore[no-untyped-def]
    """``value * factor + offset`` of each word: brightness, and contrast with (1 - factor) * mean."""
    weight, step = _fraction(factor)
    more = np.uint16(max(offset, 0.0) / step + 0.5)
    less = np.uint16(max(-offset, 0.0) / step + 0.5)
    for x in range(count):
        words[at(plane + x)] = _combine(words[at(plane + x)], weight, more, less, step)


@njit(cache=True, inline="always")
def _grey(red, green, blue):  # type: ignore[no-untyped-def]
    sum_two = np.uint16(multiply_high(red, _RED) + multiply_high(green, _GREEN))
    return np.uint16(sum_two + multiply_high(blue, _BLUE))


@njit(cache=True)
def _grey_sum(words, red, green, blue, count):  # type: ignore[no-untyped-def]
    total = np.uint32(0)
    for x in range(count):
        total += np.uint32(_grey(words[at(red + x)], words[at(green + x)], words[at(blue + x)]))
    return np.int64(total)


@njit(cache=True)
def _to_grey(words, red, green, blue, count):  # type: ignore[no-untyped-def]
    for x in range(count):
        words[at(red + x)] = _grey(words[at(red + x)], words[at(green + x)], words[at(blue + x)])


@njit(cache=True)
def _saturate(words, red, green, blue, count, factor):  # type: ignore[no-untyped-def]
    """``value * factor + grey * (1 - factor)`` of each pixel."""
    weight, step = _fraction(factor)
    grey_weight = np.uint16(min(abs(1 - factor) / step * 32768 + 0.5, 65535.0))
    raise_by, lower_by = (_FULL, _NONE) if factor < 1 else (_NONE, _FULL)
    for x in range(count):
        r, g, b = words[at(red + x)], words[at(green + x)], words[at(blue + x)]
        grey = _grey(r, g, b)
        base = multiply_high(np.uint16(grey + grey), grey_weight)
        more, less = np.uint16(base & raise_by), np.uint16(base & lower_by)
        words[at(red + x)] = _combine(r, weight, more, less, step)
        words[at(green + x)] = _combine(g, weight, more, less, step)
        words[at(blue + x)] = _combine(b, weight, more, less, step)


@njit(cache=True)
def _turn_hue(words, red, green, blue, count, hue):  # type: ignore[no-untyped-def]
    """HSV's hue turned by ``hue``, value and saturation kept.

    Hue is a place on a ring of six sides, each as long as the chroma c = max - min: red's peak at 0,
    green's at 2 c, blue's at 4 c. Along the ring each channel is a ramp between min and max, so that
    turning needs additions and no division. In 1/32 of a level, so that 6 c fits into 16 bits.
    """
    turn = np.uint16(min((hue - np.floor(hue)) * 65536 + 0.5, 65535.0))
    two = np.uint16(2)
    for x in range(count):
        r = np.uint16(np.uint16(words[at(red + x)] + two) >> two)
        g = np.uint16(np.uint16(words[at(green + x)] + two) >> two)
        b = np.uint16(np.uint16(words[at(blue + x)] + two) >> two)
        high, low = max(max(r, g), b), min(min(r, g), b)
        c = np.uint16(high - low)
        c2 = np.uint16(c + c)
        c4, c3 = np.uint16(c2 + c2), np.uint16(c2 + c)
        c6 = np.uint16(c3 + c3)
        place = np.uint16(c4 + np.uint16(r - g))
        place = np.uint16(c2 + np.uint16(b - r)) if g == high else place
        from_red = np.uint16(g - b) if g >= b else np.uint16(c6 - np.uint16(b - g))
        place = from_red if r == high else place
        shift = multiply_high(c6, turn)
        room = np.uint16(c6 - shift)
        place = np.uint16(place - room) if place >= room else np.uint16(place + shift)
        words[at(red + x)] = (low + min(_above(_distance(place, c3), c), c)) << two
        words[at(green + x)] = (low + min(_above(c2, _distance(place, c2)), c)) << two
        words[at(blue + x)] = (low + min(_above(c2, _distance(place, c4)), c)) << two


@njit(cache=True, inline="always")
def _distance(a, b):  # type: ignore[no-untyped-def]
    return np.uint16(max(a, b) - min(a, b))


@njit(cache=True, inline="always")
def _above(a, b):  # type: ignore[no-untyped-def]
    """``max(a - b, 0)``."""
    return np.uint16(max(a, b) - b)
