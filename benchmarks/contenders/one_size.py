"""A batch of images of one size, for renderers that take no others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F


def of_one_size(images: Sequence[np.ndarray]) -> torch.Tensor:
    """uint8 [B, 3, H, W] of uint8 [H, W, 3] each; those of another size than the first's are resized."""
    height, width, _ = images[0].shape
    return torch.cat([_resized(torch.from_numpy(image), height, width) for image in images])


def _resized(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """uint8 [1, 3, height, width] of uint8 [H, W, 3]."""
    planes = image.permute(2, 0, 1)[None]
    if planes.shape[2:] == (height, width):
        return planes
    return F.interpolate(planes, (height, width), mode="bilinear", antialias=True)
