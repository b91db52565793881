"""Cut a square hole into the finished view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from pipelines.command.ranges import ZeroToOne
from pipelines.files.kernels import njit
from pipelines.keys import absorb, to_integer
from pipelines.ops.fixed_point import at
from pipelines.ops.op import Field, PlaceOp

_STREAM = 12


@njit(cache=True)
def _draw(values, size, height, width, key, row):
    """DeVries and Taylor: the center is uniform over the view, the hole is clipped at its border."""
    if values[0] > 0:
        state = absorb(key, _STREAM)
        row.cutout_size = round(values[0] * size)
        if values[1] != 0:
            row.cutout_top = to_integer(absorb(state, 0), size - row.cutout_size + 1)
            row.cutout_left = to_integer(absorb(state, 1), size - row.cutout_size + 1)
        else:
            row.cutout_top = to_integer(absorb(state, 0), size) - row.cutout_size // 2
            row.cutout_left = to_integer(absorb(state, 1), size) - row.cutout_size // 2


@njit(cache=True)
def _cut(numbers, size, fill, row):
    """Fill the row's square hole of a view [S * S * 3] with three numbers, clipped at the border."""
    for y in range(max(row.cutout_top, 0), min(row.cutout_top + row.cutout_size, size)):
        for x in range(max(row.cutout_left, 0), min(row.cutout_left + row.cutout_size, size)):
            for channel in range(3):
                numbers[at(3 * (y * size + x) + channel)] = fill[channel]


@dataclass(frozen=True, kw_only=True)
class Cutout(PlaceOp):
    """Set a square hole at a random place to the mean (Cutout; DeVries and Taylor, 2017)."""

    size: ZeroToOne = 0.0
    """Side of the hole / side of the view; 0 cuts none."""
    inside: bool = False
    """Keep the whole hole within the view; otherwise its center is, and it is clipped at the border."""

    # A square in pixels of the view, which may reach over its border.
    fields: ClassVar = (
        Field("cutout_top", "i4", 0),
        Field("cutout_left", "i4", 0),
        Field("cutout_size", "i4", 0),
    )
    streams: ClassVar = (_STREAM,)
    draw = staticmethod(_draw)
    numba = staticmethod(_cut)

    @staticmethod
    def reference(view: torch.Tensor, row: np.void, size: int) -> torch.Tensor:
        """See ``Op.reference``."""
        return cutout(view, *(int(row[field.name]) for field in Cutout.fields))


def cutout(view: torch.Tensor, top: int, left: int, size: int) -> torch.Tensor:
    """Set a square hole, clipped at the border, of a normalized view to 0 (DeVries, Taylor, 2017)."""
    rows = slice(max(0, top), max(0, top + size))
    columns = slice(max(0, left), max(0, left + size))
    holed = view.clone()
    holed[:, rows, columns] = 0
    return holed
