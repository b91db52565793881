"""A crop of random area and aspect ratio, as torchvision's ``RandomResizedCrop``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pipelines.command.ranges import CropRatio, CropScale
from pipelines.files.kernels import njit
from pipelines.keys import absorb, to_integer
from pipelines.ops.crop import CROP_STREAM, Crop
from pipelines.ops.op import between

_TRIES = 10


@njit(cache=True)
def _draw(values, size, height, width, key, row):
    """torchvision's get_params: ten tries, then the central crop of the nearest ratio."""
    low_area, high_area, low_ratio, high_ratio = values[0], values[1], values[2], values[3]
    state = absorb(key, CROP_STREAM)
    for attempt in range(_TRIES):
        counter = 4 * attempt
        area = height * width * between(absorb(state, counter), low_area, high_area)
        ratio = math.exp(between(absorb(state, counter + 1), low_ratio, high_ratio))
        w = round(math.sqrt(area * ratio))
        h = round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            row.top = to_integer(absorb(state, counter + 2), height - h + 1)
            row.left = to_integer(absorb(state, counter + 3), width - w + 1)
            row.height, row.width = h, w
            return
    w, h = width, height
    if width / height < math.exp(low_ratio):
        h = max(1, min(height, round(width / math.exp(low_ratio))))
    elif width / height > math.exp(high_ratio):
        w = max(1, min(width, round(height * math.exp(high_ratio))))
    row.top, row.left, row.height, row.width = (height - h) // 2, (width - w) // 2, h, w


@dataclass(frozen=True, kw_only=True)
class RandomResizedCrop(Crop):
    """A box of random area and aspect ratio (torchvision's ``RandomResizedCrop``)."""

    kind: Literal["random_resized"] = "random_resized"
    """Kind of the crop."""
    scale: CropScale = (0.08, 1.0)
    """Share of the image's area, drawn uniformly."""
    ratio: CropRatio = (3 / 4, 4 / 3)
    """Width / height, drawn log-uniformly."""

    draw = staticmethod(_draw)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_rising("scale", "ratio")

    def values(self) -> tuple[float, ...]:
        """Scale, and the logarithms of ratio."""
        return *map(float, self.scale), math.log(self.ratio[0]), math.log(self.ratio[1])
