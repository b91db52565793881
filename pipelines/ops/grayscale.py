"""Turn gray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from pipelines.command.ranges import ZeroToOne
from pipelines.files.kernels import njit
from pipelines.keys import absorb, to_uniform
from pipelines.ops.fixed_point import at, multiply_high
from pipelines.ops.op import Field, PointOp

GRAY_WEIGHTS = (0.2989, 0.587, 0.114)  # of red, green and blue, as torchvision rounds ITU-R BT.601's
_RED, _GREEN, _BLUE = np.uint16(19589), np.uint16(38470), np.uint16(7471)  # the same in 1/65536
_STREAM = 8


@njit(cache=True)
def _draw(values, size, height, width, key, row):
    row.grayscale = to_uniform(absorb(key, _STREAM)) < values[0]


@njit(cache=True, inline="always")
def gray_word(red, green, blue):
    """The gray of a pixel of fixed-point numbers."""
    sum_two = np.uint16(multiply_high(red, _RED) + multiply_high(green, _GREEN))
    return np.uint16(sum_two + multiply_high(blue, _BLUE))


@njit(cache=True)
def _gray(words, plane_words, begin, count, colors, row):
    if not row.grayscale:
        return colors
    if colors == 3:
        red, green, blue = begin, begin + plane_words, begin + 2 * plane_words
        for x in range(count):
            words[at(red + x)] = gray_word(words[at(red + x)], words[at(green + x)], words[at(blue + x)])
    return 1


@dataclass(frozen=True, kw_only=True)
class Grayscale(PointOp):
    """Turn gray, in all three channels (torchvision's ``RandomGrayscale``)."""

    p: ZeroToOne = 0.0
    """Probability."""

    fields: ClassVar = (Field("grayscale", "i4", 0),)
    streams: ClassVar = (_STREAM,)
    draw = staticmethod(_draw)
    numba = staticmethod(_gray)

    @staticmethod
    def reference(view: torch.Tensor, row: np.void, size: int) -> torch.Tensor:
        """See ``Op.reference``."""
        return to_grayscale(view) if row["grayscale"] else view


def luma(image: torch.Tensor) -> torch.Tensor:
    """The gray of each pixel, [1, H, W]."""
    weights = torch.tensor(GRAY_WEIGHTS, device=image.device).view(3, 1, 1)
    return (image * weights).sum(0, keepdim=True)


def to_grayscale(image: torch.Tensor) -> torch.Tensor:
    """Each pixel's gray in all three channels."""
    return luma(image).repeat(3, 1, 1)
