"""Regions of maps, cut out and resized: aligned RoIAlign over one map or the levels of a pyramid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

_LEVEL_OF_CANONICAL_BOX = 4  # a box of 224 pixels lies on the map of stride 2 ** 4 (Lin et al., 2017)


def pool_regions(
    maps: Sequence[Tensor],
    strides: Sequence[int],
    boxes: Sequence[Tensor],
    side: int,
    canonical_box: int = 224,
) -> Tensor:
    """Cut boxes out of maps, each from the one level that fits its size.

    Aligned: pixel i of a map covers [i, i + 1) of its coordinates; as many samples per bin as it has pixels.

    Args:
        maps: per level, finest first, [B, C, H_l, W_l].
        strides: per level, pixels of the image between neighbors, each twice the one before.
        boxes: per image, [n_b, 4] in pixels of the image.
        side: bins of a region in height and width.
        canonical_box: side of the square box that belongs to the map of stride 16.

    Returns:
        [sum of n_b, C, side, side], image by image.
    """
    dtype = torch.promote_types(maps[0].dtype, torch.float32)  # half precision loses whole pixels of boxes
    images = torch.cat([torch.full_like(found[:, :1], image) for image, found in enumerate(boxes)])
    corners = torch.cat(list(boxes))
    rois = torch.cat([images, corners], dim=1).to(dtype)

    def pool(level: int, chosen: Tensor) -> Tensor:
        return roi_align(maps[level].to(dtype), chosen, side, 1 / strides[level], 0, aligned=True)

    if len(maps) == 1:
        return pool(0, rois)
    levels = box_levels(corners, strides, canonical_box)
    pooled = torch.zeros((len(rois), maps[0].shape[1], side, side), dtype=dtype, device=rois.device)
    for level in range(len(maps)):
        rows = torch.where(levels == level)[0]
        pooled[rows] = pool(level, rois[rows])
    return pooled


def box_levels(boxes: Tensor, strides: Sequence[int], canonical_box: int) -> Tensor:
    """Level of each box [n, 4], int64 [n] from 0: one coarser for each doubling of its size."""
    sizes = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    finest = round(math.log2(strides[0]))
    levels = torch.floor(_LEVEL_OF_CANONICAL_BOX + torch.log2(sizes / canonical_box + 1e-8)) - finest
    return levels.clamp(0, len(strides) - 1).long()
