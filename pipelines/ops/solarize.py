"""Invert what is bright."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from pipelines.command.ranges import ZeroToOne
from pipelines.files.kernels import njit
from pipelines.keys import absorb, to_uniform
from pipelines.ops.fixed_point import WHITE, at
from pipelines.ops.op import Field, PointOp

NO_SOLARIZE = 2.0
_STREAM = 11


@njit(cache=True)
def _draw(values, size, height, width, key, row):
    p, threshold = values[0], values[1]
    if to_uniform(absorb(key, _STREAM)) < p:
        row.solarize_threshold = threshold


@njit(cache=True)
def _invert(words, plane_words, begin, count, colors, row):
    if row.solarize_threshold <= 1:
        # products that are rounded down leave a level that is not resampled 1/128 level short
        least = np.uint16(max(np.ceil(row.solarize_threshold * WHITE - 1.5), 0.0))
        for color in range(colors):
            first = color * plane_words + begin
            for x in range(count):
                value = min(words[at(first + x)], WHITE)
                words[at(first + x)] = np.uint16(WHITE - value) if value >= least else value
    return colors


@dataclass(frozen=True, kw_only=True)
class Solarize(PointOp):
    """Invert the values of at least a threshold (torchvision's ``RandomSolarize``)."""

    p: ZeroToOne = 0.0
    """Probability."""
    threshold: ZeroToOne = 128 / 255
    """Least value that is inverted."""

    fields: ClassVar = (Field("solarize_threshold", "f4", NO_SOLARIZE),)
    streams: ClassVar = (_STREAM,)
    draw = staticmethod(_draw)
    numba = staticmethod(_invert)

    @staticmethod
    def reference(view: torch.Tensor, row: np.void, size: int) -> torch.Tensor:
        """See ``Op.reference``."""
        threshold = float(row["solarize_threshold"])
        return solarize(view, threshold) if threshold <= 1 else view


def solarize(image: torch.Tensor, threshold: float) -> torch.Tensor:
    """Invert the values of at least ``threshold``."""
    return torch.where(image >= threshold, 1 - image, image)
