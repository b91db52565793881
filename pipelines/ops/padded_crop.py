"""A crop of the view's size out of a padded image, as torchvision's ``RandomCrop`` with ``padding``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines.command.ranges import CountOrZero
from pipelines.files.kernels import njit
from pipelines.keys import absorb, to_integer
from pipelines.ops.crop import CROP_STREAM, Crop


@njit(cache=True)
def _draw(values, size, height, width, key, row):
    padding = int(values[0])
    state = absorb(key, CROP_STREAM)
    row.top = to_integer(absorb(state, 0), max(0, height + 2 * padding - size) + 1) - padding
    row.left = to_integer(absorb(state, 1), max(0, width + 2 * padding - size) + 1) - padding
    row.height = row.width = size


@dataclass(frozen=True, kw_only=True)
class PaddedCrop(Crop):
    """A box of the view's size, anywhere in the image and its black border; nothing is resized."""

    kind: Literal["padded"] = "padded"
    """Kind of the crop."""
    padding: CountOrZero = 0
    """Width of the border, pixels; less than the view's side, so that some of the image always shows."""

    draw = staticmethod(_draw)

    def check(self, size: int) -> None:
        """See ``Op.check``."""
        self._require(self.padding < size, "padding", f"be below the view's side, here {size}")
