"""Gaussian blur: separable, symmetric, borders reflected, no longer than sigma needs.

In fixed point each row is blurred along itself into a ring of as many rows as the kernel has taps, which
stays in the first-level cache; output rows are weighted sums of the ring's. Words that lie equally far on
either side of the center share one multiplication.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from pipelines.command.ranges import BlurSigma, ZeroToOne
from pipelines.files.kernels import njit
from pipelines.keys import absorb, to_uniform
from pipelines.ops.fixed_point import at, multiply_high, padded
from pipelines.ops.op import Field, Op, between

_GROUP = 4  # pairs of taps in one pass over a row; the last one may have two
_BLUR, _SIGMA = 9, 10  # streams


@njit(cache=True)
def _draw(values, size, height, width, key, row):
    p, low, high = values[0], values[1], values[2]
    if to_uniform(absorb(key, _BLUR)) < p:
        row.blur_sigma = between(absorb(key, _SIGMA), low, high)


@njit(cache=True)
def blur_words(sigma, size):
    """The uint16 words of scratch that ``blur`` needs."""
    radius = _radius(sigma, size)
    reach = _even(radius)
    return padded(reach + 1) + padded(3 * (size + 2 * reach)) * (2 * radius + 2) + padded(2 * reach)


@njit(cache=True, nogil=True)
def blur(words, plane_words, count, size, sigma, scratch):
    """Blur ``count`` planes in place with the kernel exp(-0.5 (i / sigma)^2), normalized.

    Args:
        words: uint16 vector of planes and scratch; pixels lie at plane * plane_words + y * size + x.
        plane_words: from one plane to the next.
        count: of planes, 1 to 3.
        size: side of a plane, S.
        sigma: pixels, above 0.
        scratch: the first of ``blur_words`` words.
    """
    radius = _radius(sigma, size)
    if radius < 1:
        return
    kernel, reach = scratch, _even(radius)
    _fill_kernel(sigma, radius, reach, words, kernel)
    slots = 2 * radius + 1
    plane_row = size + 2 * reach
    ring_row = padded(count * plane_row)
    source = kernel + padded(reach + 1)
    ring = source + padded(ring_row + 2 * reach)
    ready = 0
    for y in range(size):
        while ready < min(y + radius + 1, size):
            for plane in range(count):
                row = plane * plane_words + ready * size
                _reflect(words, row, size, radius, source + plane * plane_row + reach)
            _blur_row(words, source + reach, ring_row, kernel, reach, ring + ready % slots * ring_row)
            ready += 1
        _blend_rows(words, ring, ring_row, slots, y, size, kernel, reach, source)
        for plane in range(count):
            out, row = plane * plane_words + y * size, source + plane * plane_row
            for x in range(size):
                words[at(out + x)] = words[at(row + x)]


@njit(cache=True)
def _radius(sigma: float, size: int) -> int:
    """Taps on either side: those within 3.29 sigma, and no more than can be reflected.

    torchvision's kernel goes on to 4 sigma; what is left out is 1/1000 of its weight.
    """
    return min(math.ceil(3.29 * sigma - 0.5), size - 1)


@njit(cache=True)
def _even(radius: int) -> int:
    """The length of a kernel's side: whole pairs of taps, the last of which may be zero."""
    return (radius + 1) // 2 * 2


@njit(cache=True)
def _fill_kernel(sigma, radius, reach, words, kernel):
    """The weights of the center and of one side, ``reach`` of them, in 1/65536."""
    total = 1.0
    for i in range(1, radius + 1):
        total += 2 * math.exp(-0.5 * (i / sigma) ** 2)
    sides = 0
    for i in range(1, reach + 1):
        weight = int(65536 * math.exp(-0.5 * (i / sigma) ** 2) / total + 0.5) if i <= radius else 0
        words[at(kernel + i)] = weight
        sides += weight
    words[at(kernel)] = min(65536 - 2 * sides, 65535)


@njit(cache=True)
def _reflect(words, row, size, radius, out):
    """Copy a row, and mirror ``radius`` words about its first and its last one."""
    for x in range(size):
        words[at(out + x)] = words[at(row + x)]
    for i in range(1, radius + 1):
        words[at(out - i)] = words[at(row + i)]
        words[at(out + size - 1 + i)] = words[at(row + size - 1 - i)]


@njit(cache=True)
def _blur_row(words, source, count, kernel, reach, out):
    """``out[x] = sum over i of kernel[|i|] * source[x + i]`` for ``count`` words."""
    for i in range(1, reach + 1, _GROUP):
        _add_pairs(
            words,
            out,
            count,
            source,
            source - i,
            source + i,
            source - i - 1,
            source + i + 1,
            source - i - 2,
            source + i + 2,
            source - i - 3,
            source + i + 3,
            kernel,
            i,
            reach,
        )


@njit(cache=True)
def _blend_rows(words, ring, ring_row, slots, y, size, kernel, reach, out):
    """``out = sum over i of kernel[|i|] * ring row y + i``, row numbers reflected."""
    for i in range(1, reach + 1, _GROUP):
        a, b = _rows_at(ring, ring_row, slots, y, i, size)
        c, d = _rows_at(ring, ring_row, slots, y, i + 1, size)
        e, f = _rows_at(ring, ring_row, slots, y, i + 2, size)
        g, h = _rows_at(ring, ring_row, slots, y, i + 3, size)
        center = ring + y % slots * ring_row
        _add_pairs(words, out, ring_row, center, a, b, c, d, e, f, g, h, kernel, i, reach)


@njit(cache=True, inline="always")
def _rows_at(ring, ring_row, slots, y, distance, size):
    """The ring's rows that hold image rows y - distance and y + distance, reflected.

    Any row of the ring where the distance is beyond the radius: its weight is zero.
    """
    above, below = abs(y - distance), y + distance
    if below >= size:
        below = abs(2 * (size - 1) - below)
    return ring + above % slots * ring_row, ring + below % slots * ring_row


@njit(cache=True)
def _add_pairs(words, out, count, center, a, b, c, d, e, f, g, h, kernel, i, reach):
    """Add two or four pairs of rows, each times its weight, to ``out``; first of all, to the weighted center.

    A pair's sum fits into 16 bits: 2 * WHITE < 65536.
    """
    begin = i == 1
    keep = np.uint16(0 if begin else 0xFFFF)
    bias = np.uint16(reach // 2 if begin else 0)  # half of what rounding down loses at most
    weight_0 = words[at(kernel)] if begin else np.uint16(0)
    weight_1, weight_2 = words[at(kernel + i)], words[at(kernel + i + 1)]
    if reach - i < 2:
        for x in range(count):
            value = np.uint16(bias + np.uint16(words[at(out + x)] & keep))
            value = np.uint16(value + multiply_high(words[at(center + x)], weight_0))
            pair = np.uint16(words[at(a + x)] + words[at(b + x)])
            value = np.uint16(value + multiply_high(pair, weight_1))
            pair = np.uint16(words[at(c + x)] + words[at(d + x)])
            words[at(out + x)] = np.uint16(value + multiply_high(pair, weight_2))
        return
    weight_3, weight_4 = words[at(kernel + i + 2)], words[at(kernel + i + 3)]
    for x in range(count):
        value = np.uint16(bias + np.uint16(words[at(out + x)] & keep))
        value = np.uint16(value + multiply_high(words[at(center + x)], weight_0))
        pair = np.uint16(words[at(a + x)] + words[at(b + x)])
        value = np.uint16(value + multiply_high(pair, weight_1))
        pair = np.uint16(words[at(c + x)] + words[at(d + x)])
        value = np.uint16(value + multiply_high(pair, weight_2))
        pair = np.uint16(words[at(e + x)] + words[at(f + x)])
        value = np.uint16(value + multiply_high(pair, weight_3))
        pair = np.uint16(words[at(g + x)] + words[at(h + x)])
        words[at(out + x)] = np.uint16(value + multiply_high(pair, weight_4))


@dataclass(frozen=True, kw_only=True)
class GaussianBlur(Op):
    """Blur with a Gaussian of random width (torchvision's ``GaussianBlur``)."""

    p: ZeroToOne = 0.0
    """Probability."""
    sigma: BlurSigma = (0.1, 2.0)
    """Standard deviation in pixels of the view, drawn uniformly."""

    fields: ClassVar = (Field("blur_sigma", "f4", 0),)  # pixels of the view
    streams: ClassVar = (_BLUR, _SIGMA)
    draw = staticmethod(_draw)
    numba = staticmethod(blur)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_rising("sigma")

    @staticmethod
    def reference(view: torch.Tensor, row: np.void, size: int) -> torch.Tensor:
        """See ``Op.reference``."""
        sigma = float(row["blur_sigma"])
        return gaussian_blur(view, sigma) if sigma > 0 else view


def gaussian_blur(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """Convolve with a Gaussian of ``sigma`` pixels, borders reflected without repeating the edge pixel.

    The kernel has ``blur_radius(sigma, side)`` taps on either side and sums to 1, as torchvision's
    ``gaussian_blur`` with kernel_size 2 * radius + 1.
    """
    radius = blur_radius(sigma, min(image.shape[1:]))
    offsets = torch.arange(-radius, radius + 1, device=image.device).double()
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).float()
    padded = F.pad(image[:, None], (radius, radius, radius, radius), mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0]


def blur_radius(sigma: float, side: int) -> int:
    """Taps on either side of the blur kernel: 4 sigma rounded up, at least 1, at most what reflects."""
    return min(max(1, math.ceil(4 * sigma)), side - 1)
