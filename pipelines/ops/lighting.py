"""Color noise along the principal components of ImageNet's colors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from pipelines.command.ranges import ZeroToHundred, ZeroToOne
from pipelines.files.kernels import njit
from pipelines.keys import absorb, to_uniform
from pipelines.ops.fixed_point import WHITE, at
from pipelines.ops.op import Field, PointOp

# Of the covariance of the RGB values in [0, 1] of ImageNet's training images, as everyone copies them from
# fb.resnet.torch: component c adds alpha_c * EIGENVALUES[c] * EIGENVECTORS[:, c].
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)
_SCALED = np.array(EIGENVECTORS) * np.array(EIGENVALUES)  # [color, component]
_LIGHTING, _ALPHA = 13, 14  # streams


@njit(cache=True)
def _draw(values, size, height, width, key, row):
    p, std = values[0], values[1]
    if to_uniform(absorb(key, _LIGHTING)) < p:
        state = absorb(key, _ALPHA)
        for component in range(3):  # Box and Muller: a standard normal number from two uniform ones
            radius = math.sqrt(-2 * math.log(1 - to_uniform(absorb(state, 2 * component))))
            turn = to_uniform(absorb(state, 2 * component + 1))
            alpha = std * radius * math.cos(2 * math.pi * turn)
            for color in range(3):
                row.lighting[color] += alpha * _SCALED[color, component]


@njit(cache=True)
def _add(words, plane_words, begin, count, colors, row):
    if row.lighting[0] == 0 and row.lighting[1] == 0 and row.lighting[2] == 0:
        return colors
    for color in range(2, -1, -1):  # the first plane last: it may stand for all
        source, target = (color * plane_words if colors == 3 else 0) + begin, color * plane_words + begin
        offset = min(max(row.lighting[color], -1.0), 1.0) * WHITE
        more, less = np.uint16(max(offset, 0.0) + 0.5), np.uint16(max(-offset, 0.0) + 0.5)
        for x in range(count):
            value = np.uint16(min(words[at(source + x)], WHITE) + more)
            words[at(target + x)] = min(np.uint16(max(value, less) - less), WHITE)
    return 3


@dataclass(frozen=True, kw_only=True)
class Lighting(PointOp):
    """Add noise along the principal components of ImageNet's colors ("fancy PCA"), clamped to [0, 1].

    Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural networks" (2012),
    section 4.1: every pixel of a view is shifted by the same amount, normal along each component.
    """

    p: ZeroToOne = 0.0
    """Probability; AlexNet's is 1."""
    std: ZeroToHundred = 0.1
    """Standard deviation of the amount along each component, in units of its eigenvalue."""

    fields: ClassVar = (Field("lighting", "f4", (0, 0, 0)),)  # what is added to red, green and blue in [0, 1]
    streams: ClassVar = (_LIGHTING, _ALPHA)
    draw = staticmethod(_draw)
    numba = staticmethod(_add)

    @staticmethod
    def reference(view: torch.Tensor, row: np.void, size: int) -> torch.Tensor:
        """See ``Op.reference``."""
        shift = torch.from_numpy(row["lighting"].copy()).to(view.device)
        return (view + shift.view(3, 1, 1)).clamp(0, 1)
