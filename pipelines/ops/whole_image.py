"""The whole image, squeezed to a square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines.files.kernels import njit
from pipelines.ops.crop import Crop


@njit(cache=True)
def _draw(values, size, height, width, key, row):
    row.top, row.left, row.height, row.width = 0, 0, height, width


@dataclass(frozen=True, kw_only=True)
class WholeImage(Crop):
    """The whole image whatever its sides (torchvision's ``Resize((S, S))``): VISSL's view of VOC2007."""

    kind: Literal["whole"] = "whole"
    """Kind of the crop."""

    draw = staticmethod(_draw)
