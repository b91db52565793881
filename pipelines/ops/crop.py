"""Crop and resize: what the kinds of crops share. They differ in how they draw the box."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from pipelines.ops.op import Field, Op
from pipelines.ops.resample import resample

CROP_STREAM = 0


class Crop(Op):
    """Cut a box out of an image and resize it to the view, bilinear with antialiasing."""

    # The box in pixels of the upright image; outside the image is black. It has no neutral value.
    fields: ClassVar = (
        Field("top", "i4", 0),
        Field("left", "i4", 0),
        Field("height", "i4", 0),
        Field("width", "i4", 0),
    )
    streams: ClassVar = (CROP_STREAM,)
    numba = staticmethod(resample)

    @staticmethod
    def reference(view: torch.Tensor, row: np.void, size: int) -> torch.Tensor:
        """See ``Op.reference``; ``view`` is the whole image, [3, H, W]."""
        top, left, height, width = (int(row[field.name]) for field in Crop.fields)
        return crop_resize(view, top, left, height, width, size)


def crop_resize(image: torch.Tensor, top: int, left: int, height: int, width: int, size: int) -> torch.Tensor:
    """Cut a box out of an image and resize it to [3, size, size], bilinear with antialiasing.

    The box may reach outside the image, which is black there, but must overlap it. A box of
    size x size is only cut. Pixels outside the box have no influence.
    """
    bottom, right = top + height, left + width
    box = F.pad(image, (-left, right - image.shape[2], -top, bottom - image.shape[1]))
    if (height, width) == (size, size):
        return box
    resized = F.interpolate(box[None], (size, size), mode="bilinear", align_corners=False, antialias=True)
    return resized[0]
