"""Set all channels of the finished view to their mean: gray in whatever color space it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from pipelines.command.ranges import ZeroToOne
from pipelines.files.kernels import njit
from pipelines.keys import absorb, to_uniform
from pipelines.ops.op import ChannelOp, Field

_STREAM = 17


@njit(cache=True)
def _draw(values, size, height, width, key, row):
    row.channel_mean = to_uniform(absorb(key, _STREAM)) < values[0]


@njit(cache=True, inline="always")
def _mean(first, second, third, row):
    if row.channel_mean != 0:
        first = (first + second + third) * np.float32(1 / 3)
        second = third = first
    return first, second, third


@dataclass(frozen=True, kw_only=True)
class ChannelMean(ChannelOp):
    """Replace each channel of the normalized view by the mean of the three.

    Newell and Deng, "How useful is self-supervised pretraining for visual tasks?" (2020), by their public
    code, in normalized L*a*b* with p 0.25.
    """

    p: ZeroToOne = 0.0
    """Probability."""

    fields: ClassVar = (Field("channel_mean", "i4", 0),)
    streams: ClassVar = (_STREAM,)
    draw = staticmethod(_draw)
    numba = staticmethod(_mean)

    @staticmethod
    def reference(view: torch.Tensor, row: np.void, size: int) -> torch.Tensor:
        """See ``Op.reference``."""
        return view.mean(0, keepdim=True).repeat(3, 1, 1) if row["channel_mean"] else view
