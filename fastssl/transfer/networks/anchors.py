"""Anchors as detectron2 lays them."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList


class Anchors(AnchorGenerator):
    """torchvision's anchors without rounding, those of a size in a row, at the strides of the maps.

    Args:
        sizes: per map, square roots of areas, pixels.
        ratios: height over width.
        strides: per map, pixels between neighbors; the first anchor's center is the corner of the image.
    """

    def __init__(
        self, sizes: tuple[tuple[int, ...], ...], ratios: tuple[float, ...], strides: tuple[int, ...]
    ) -> None:
        super().__init__(sizes, (ratios,) * len(sizes))
        self._strides = strides

    def generate_anchors(
        self,
        scales: tuple[int, ...],
        aspect_ratios: tuple[float, ...],
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> Tensor:
        """Boxes [sizes x ratios, 4] around the origin, left, top, right, bottom."""
        areas = torch.tensor(scales, dtype=torch.float64).square()[:, None]
        ratios = torch.tensor(aspect_ratios, dtype=torch.float64)[None]
        widths = (areas / ratios).sqrt().flatten()
        heights = (areas * ratios).sqrt().flatten()
        corners = torch.stack([-widths, -heights, widths, heights], dim=1) / 2
        return corners.to(device=device, dtype=dtype)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Per image, boxes [n, 4], float32: of each map in turn, of each pixel in turn."""
        first = feature_maps[0]
        self.set_cell_anchors(torch.float32, first.device)
        sizes = [list(found.shape[-2:]) for found in feature_maps]
        boxes = torch.cat(self.grid_anchors(sizes, [[stride, stride] for stride in self._strides]))
        return [boxes] * len(first)
