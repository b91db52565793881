"""Jitter brightness, contrast, saturation and hue, in an order drawn for each view.

In fixed point a view is worked through in pieces that fit the first-level cache, all operations on one piece
before the next; contrast needs the mean gray of the whole view, and so makes two passes of one. Every part
is torchvision's on float images, clamped to [0, 1] after each. All its numbers are 16 bits wide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from pipelines.command.ranges import UpToHalf, ZeroToHundred, ZeroToOne
from pipelines.files.kernels import njit
from pipelines.keys import absorb, to_integer, to_uniform
from pipelines.ops.fixed_point import WHITE, at, multiply_high
from pipelines.ops.grayscale import gray_word, luma
from pipelines.ops.op import Field, Op, between

CONTRAST_PART = 1  # number in a row's order
NUM_PARTS = 4
_JITTER, _ORDER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(2, 8)  # streams
_NONE, _FULL = np.uint16(0), np.uint16(0xFFFF)


@njit(cache=True)
def _draw(values, size, height, width, key, row):
    p, b, c, s, h = values[0], values[1], values[2], values[3], values[4]
    if to_uniform(absorb(key, _JITTER)) < p:
        row.brightness = between(absorb(key, _BRIGHTNESS), max(0.0, 1 - b), 1 + b)
        row.contrast = between(absorb(key, _CONTRAST), max(0.0, 1 - c), 1 + c)
        row.saturation = between(absorb(key, _SATURATION), max(0.0, 1 - s), 1 + s)
        row.hue = between(absorb(key, _HUE), -h, h)
        shuffle = absorb(key, _ORDER)
        for i in range(NUM_PARTS - 1, 0, -1):  # Fisher and Yates
            j = to_integer(absorb(shuffle, i), i + 1)
            row.order[i], row.order[j] = row.order[j], row.order[i]


@njit(cache=True)
def contrast_place(order, contrast):
    """The position of contrast in a row's order; NUM_PARTS where its factor changes nothing."""
    split = NUM_PARTS
    for position in range(NUM_PARTS):
        if order[position] == CONTRAST_PART and contrast != 1:
            split = position
    return split


@njit(cache=True)
def _jitter(words, plane_words, begin, count, first, last, mean, row):
    """Parts ``first`` to ``last`` of a row's order on one piece of a view, in place.

    Args:
        words: uint16 vector; colors lie at color * plane_words + pixel.
        plane_words: from one plane to the next.
        begin, count: the piece's first pixel and number of pixels.
        first, last: positions in the order.
        mean: the gray of the whole view before contrast, where that is among the parts.
        row: of VIEW_PARAMETERS.
    """
    red, green, blue = begin, begin + plane_words, begin + 2 * plane_words
    for position in range(first, last):
        _apply(row, row.order[position], words, red, green, blue, count, mean)


@njit(cache=True)
def _apply(row, part, words, red, green, blue, count, mean):
    """One of the four parts of the jitter on one piece."""
    if part == 0:
        if row.brightness != 1:
            for plane in (red, green, blue):
                _scale(words, plane, count, row.brightness, 0.0)
    elif part == CONTRAST_PART:
        if row.contrast != 1:
            for plane in (red, green, blue):
                _scale(words, plane, count, row.contrast, (1 - row.contrast) * mean)
    elif part == 2:
        if row.saturation != 1:
            _saturate(words, red, green, blue, count, row.saturation)
    elif row.hue != 0:
        _turn_hue(words, red, green, blue, count, row.hue)


@njit(cache=True)
def _fraction(factor):
    """A factor of at least 0 as (weight in 1/32768, step), weight < 65536 and step a power of 2."""
    step = 1
    while factor >= 1.9999:
        factor /= 2
        step *= 2
    return np.uint16(factor * 32768 + 0.5), np.uint16(step)


@njit(cache=True, inline="always")
def _combine(value, weight, more, less, step):
    """``min((value * weight + more - less) * step, WHITE)``, and not below 0."""
    scaled = np.uint16(multiply_high(np.uint16(value + value), weight) + more)
    scaled = np.uint16(max(scaled, less) - less)
    return np.uint16(min(scaled, np.uint16(WHITE // step)) * step)


@njit(cache=True)
def _scale(words, plane, count, factor, offset):
    """``value * factor + offset`` of each word: brightness, and contrast with (1 - factor) * mean."""
    weight, step = _fraction(factor)
    more = np.uint16(max(offset, 0.0) / step + 0.5)
    less = np.uint16(max(-offset, 0.0) / step + 0.5)
    for x in range(count):
        words[at(plane + x)] = _combine(words[at(plane + x)], weight, more, less, step)


@njit(cache=True)
def gray_sum(words, plane_words, begin, count):
    """The sum of the gray of one piece, at most 65536 pixels."""
    red, green, blue = begin, begin + plane_words, begin + 2 * plane_words
    total = np.uint32(0)
    for x in range(count):
        total += np.uint32(gray_word(words[at(red + x)], words[at(green + x)], words[at(blue + x)]))
    return np.int64(total)


@njit(cache=True)
def _saturate(words, red, green, blue, count, factor):
    """``value * factor + gray * (1 - factor)`` of each pixel."""
    weight, step = _fraction(factor)
    gray_weight = np.uint16(min(abs(1 - factor) / step * 32768 + 0.5, 65535.0))
    raise_by, lower_by = (_FULL, _NONE) if factor < 1 else (_NONE, _FULL)
    for x in range(count):
        r, g, b = words[at(red + x)], words[at(green + x)], words[at(blue + x)]
        gray = gray_word(r, g, b)
        base = multiply_high(np.uint16(gray + gray), gray_weight)
        more, less = np.uint16(base & raise_by), np.uint16(base & lower_by)
        words[at(red + x)] = _combine(r, weight, more, less, step)
        words[at(green + x)] = _combine(g, weight, more, less, step)
        words[at(blue + x)] = _combine(b, weight, more, less, step)


@njit(cache=True)
def _turn_hue(words, red, green, blue, count, hue):
    """HSV's hue turned by ``hue``, value and saturation kept.

    Hue is a position on a ring of six sides, each as long as the chroma c = max - min: red's peak at 0,
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
        position = np.uint16(c4 + np.uint16(r - g))
        position = np.uint16(c2 + np.uint16(b - r)) if g == high else position
        from_red = np.uint16(g - b) if g >= b else np.uint16(c6 - np.uint16(b - g))
        position = from_red if r == high else position
        shift = multiply_high(c6, turn)
        room = np.uint16(c6 - shift)
        position = np.uint16(position - room) if position >= room else np.uint16(position + shift)
        words[at(red + x)] = (low + min(_above(_distance(position, c3), c), c)) << two
        words[at(green + x)] = (low + min(_above(c2, _distance(position, c2)), c)) << two
        words[at(blue + x)] = (low + min(_above(c2, _distance(position, c4)), c)) << two


@njit(cache=True, inline="always")
def _distance(a, b):
    return np.uint16(max(a, b) - min(a, b))


@njit(cache=True, inline="always")
def _above(a, b):
    """``max(a - b, 0)``."""
    return np.uint16(max(a, b) - b)


@dataclass(frozen=True, kw_only=True)
class ColorJitter(Op):
    """Jitter brightness, contrast, saturation and hue, in random order (torchvision's ``ColorJitter``)."""

    p: ZeroToOne = 0.0
    """Probability."""
    brightness: ZeroToHundred = 0.0
    """A factor is drawn from [max(0, 1 - b), 1 + b]; contrast and saturation likewise."""
    contrast: ZeroToHundred = 0.0
    saturation: ZeroToHundred = 0.0
    hue: UpToHalf = 0.0
    """A shift is drawn from [-h, h] turns."""

    fields: ClassVar = (
        Field("order", "i4", (0, 1, 2, 3)),  # permutation of 0 brightness, 1 contrast, 2 saturation, 3 hue
        Field("brightness", "f4", 1),  # factor
        Field("contrast", "f4", 1),
        Field("saturation", "f4", 1),
        Field("hue", "f4", 0),  # shift in turns, -0.5 to 0.5
    )
    streams: ClassVar = (_JITTER, _ORDER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE)
    draw = staticmethod(_draw)
    numba = staticmethod(_jitter)

    @staticmethod
    def reference(view: torch.Tensor, row: np.void, size: int) -> torch.Tensor:
        """See ``Op.reference``."""
        for part in row["order"]:
            name, adjust, neutral = _PARTS[part]
            amount = float(row[name])
            if amount != neutral:
                view = adjust(view, amount)
        return view


def adjust_brightness(image: torch.Tensor, factor: float) -> torch.Tensor:
    """Multiply by a factor of at least 0, clamped to [0, 1]."""
    return (image * factor).clamp(0, 1)


def adjust_contrast(image: torch.Tensor, factor: float) -> torch.Tensor:
    """Scale the distance from the image's mean gray by a factor of at least 0, clamped to [0, 1]."""
    return _blend(image, luma(image).mean(), factor)


def adjust_saturation(image: torch.Tensor, factor: float) -> torch.Tensor:
    """Scale each pixel's distance from its own gray by a factor of at least 0, clamped to [0, 1]."""
    return _blend(image, luma(image), factor)


def adjust_hue(image: torch.Tensor, shift: float) -> torch.Tensor:
    """Turn the hue of HSV by ``shift`` turns in [-0.5, 0.5]; HSV's saturation and value stay.

    Back from HSV, a channel is value - chroma * clamp(min(k, 4 - k), 0, 1), where chroma is
    value * saturation, k = (n + 6 * hue) mod 6, and n is 5, 3, 1 for red, green, blue.
    """
    red, green, blue = image
    low, value = image.amin(0), image.amax(0)
    chroma = value - low
    divisor = torch.where(chroma == 0, 1.0, chroma)  # the hue of gray does not matter
    sixths = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    n = torch.tensor([5.0, 3.0, 1.0], device=image.device).view(3, 1, 1)
    k = (n + sixths + 6 * shift).remainder(6)
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


def _blend(image: torch.Tensor, base: torch.Tensor, factor: float) -> torch.Tensor:
    return (factor * image + (1 - factor) * base).clamp(0, 1)


# Number in the row's ``order``: the field of its amount, the operation, the amount that changes nothing.
_PARTS: tuple[tuple[str, Callable[[torch.Tensor, float], torch.Tensor], float], ...] = (
    ("brightness", adjust_brightness, 1.0),
    ("contrast", adjust_contrast, 1.0),
    ("saturation", adjust_saturation, 1.0),
    ("hue", adjust_hue, 0.0),
)
