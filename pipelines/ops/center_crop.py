"""The central crop of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines.command.ranges import Share
from pipelines.files.kernels import njit
from pipelines.ops.crop import Crop


@njit(cache=True)
def _draw(values, size, height, width, key, row):
    side = max(1, round(min(height, width) * values[0]))
    row.top, row.left, row.height, row.width = (height - side) // 2, (width - side) // 2, side, side


@dataclass(frozen=True, kw_only=True)
class CenterCrop(Crop):
    """The central square (torchvision's ``Resize`` and ``CenterCrop``, up to the rounding of either)."""

    kind: Literal["center"] = "center"
    """Kind of the crop."""
    fraction: Share = 0.875
    """Side of the square / short side of the image; 224 / 256 by default."""

    draw = staticmethod(_draw)
