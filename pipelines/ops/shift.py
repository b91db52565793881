"""Shift the finished view, zeros coming in: a crop of its size out of the view padded with its mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from pipelines.command.ranges import ZeroToOne
from pipelines.files.kernels import njit
from pipelines.keys import absorb, to_integer, to_uniform
from pipelines.ops.fixed_point import at
from pipelines.ops.op import Field, PlaceOp

_STAY, _PLACE = 18, 19  # streams


@njit(cache=True)
def _draw(values, size, height, width, key, row):
    padding = round(values[0] * size)
    if to_uniform(absorb(key, _STAY)) >= values[1]:
        state = absorb(key, _PLACE)
        row.shift_down = to_integer(absorb(state, 0), 2 * padding + 1) - padding
        row.shift_right = to_integer(absorb(state, 1), 2 * padding + 1) - padding


@njit(cache=True)
def _shift(numbers, size, fill, row):
    """Move the pixels of a view [S * S * 3] in place, filling what is uncovered with three numbers."""
    down, right = row.shift_down, row.shift_right
    if down == 0 and right == 0:
        return
    for i in range(size):  # from the side that pixels move to: no pixel is overwritten before it is read
        y = size - 1 - i if down > 0 else i
        for j in range(size):
            x = size - 1 - j if right > 0 else j
            inside = 0 <= y - down < size and 0 <= x - right < size
            for channel in range(3):
                number = fill[channel]
                if inside:
                    number = numbers[at(3 * ((y - down) * size + x - right) + channel)]
                numbers[at(3 * (y * size + x) + channel)] = number


@dataclass(frozen=True, kw_only=True)
class Shift(PlaceOp):
    """Crop the normalized view out of itself padded with zeros, its mean.

    Newell and Deng, "How useful is self-supervised pretraining for visual tasks?" (2020), by their public
    code: an eighth of padding; a fifth of the draws is the view as it is, all others are uniform.
    """

    padding: ZeroToOne = 0.0
    """Largest shift either way / side of the view."""
    stay: ZeroToOne = 0.2
    """Share of views that are left where they are, beside those that chance leaves there."""

    fields: ClassVar = (Field("shift_down", "i4", 0), Field("shift_right", "i4", 0))  # pixels of the view
    streams: ClassVar = (_STAY, _PLACE)
    draw = staticmethod(_draw)
    numba = staticmethod(_shift)

    @staticmethod
    def reference(view: torch.Tensor, row: np.void, size: int) -> torch.Tensor:
        """See ``Op.reference``."""
        down, right = int(row["shift_down"]), int(row["shift_right"])
        moved = view.roll((down, right), (1, 2))
        moved[:, slice(0, down) if down > 0 else slice(size + down, size)] = 0
        moved[:, :, slice(0, right) if right > 0 else slice(size + right, size)] = 0
        return moved
