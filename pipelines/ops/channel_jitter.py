"""Scale and shift each channel of the finished view: color jitter in whatever color space it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from pipelines.command.ranges import ZeroToHundred, ZeroToOne
from pipelines.files.kernels import njit
from pipelines.keys import absorb, to_normal, to_uniform
from pipelines.ops.op import Field, Op

_JITTER, _AMOUNT = 15, 16  # streams


@njit(cache=True)
def _draw(values, size, height, width, key, row):
    if to_uniform(absorb(key, _JITTER)) < values[0]:
        state = absorb(key, _AMOUNT)
        for channel in range(3):
            row.channel_scale[channel] = 2.0 ** (values[1] * to_normal(state, 2 * channel))
            row.channel_shift[channel] = values[2] * to_normal(state, 2 * channel + 1)


@njit(cache=True, inline="always")
def _jittered(scale, shift, row):
    """Fold the row's jitter into a normalization, value * scale + shift of three channels."""
    scale = (
        scale[0] * row.channel_scale[0],
        scale[1] * row.channel_scale[1],
        scale[2] * row.channel_scale[2],
    )
    shift = (
        shift[0] * row.channel_scale[0] + row.channel_shift[0],
        shift[1] * row.channel_scale[1] + row.channel_shift[1],
        shift[2] * row.channel_scale[2] + row.channel_shift[2],
    )
    return scale, shift


@dataclass(frozen=True, kw_only=True)
class ChannelJitter(Op):
    """Multiply each channel of the normalized view by 2^n and add m, n and m normal; not clamped.

    Newell and Deng, "How useful is self-supervised pretraining for visual tasks?" (2020), by their public
    code, in normalized L*a*b* with p 0.8.
    """

    p: ZeroToOne = 0.0
    """Probability."""
    scale_std: ZeroToHundred = 0.25
    """Standard deviation of n."""
    shift_std: ZeroToHundred = 0.25
    """Standard deviation of m, in units of the normalized view."""

    fields: ClassVar = (Field("channel_scale", "f4", (1, 1, 1)), Field("channel_shift", "f4", (0, 0, 0)))
    streams: ClassVar = (_JITTER, _AMOUNT)
    draw = staticmethod(_draw)
    numba = staticmethod(_jittered)
    finished: ClassVar = True

    @staticmethod
    def reference(view: torch.Tensor, row: np.void, size: int) -> torch.Tensor:
        """See ``Op.reference``."""
        scale, shift = (
            torch.from_numpy(row[field.name].copy()).to(view.device).view(3, 1, 1)
            for field in ChannelJitter.fields
        )
        return view * scale + shift
