"""Mirror left to right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from pipelines.command.ranges import ZeroToOne
from pipelines.files.kernels import njit
from pipelines.keys import absorb, to_uniform
from pipelines.ops.op import Field, Op
from pipelines.ops.resample import mirrored

_STREAM = 1


@njit(cache=True)
def _draw(values, size, height, width, key, row):
    row.flip = to_uniform(absorb(key, _STREAM)) < values[0]


@dataclass(frozen=True, kw_only=True)
class Flip(Op):
    """Mirror left to right (torchvision's ``RandomHorizontalFlip``)."""

    p: ZeroToOne = 0.0
    """Probability."""

    fields: ClassVar = (Field("flip", "i4", 0),)
    streams: ClassVar = (_STREAM,)
    draw = staticmethod(_draw)
    numba = staticmethod(mirrored)

    @staticmethod
    def reference(view: torch.Tensor, row: np.void, size: int) -> torch.Tensor:
        """See ``Op.reference``."""
        return flip(view) if row["flip"] else view


def flip(image: torch.Tensor) -> torch.Tensor:
    """Mirror left to right."""
    return image.flip(2)
