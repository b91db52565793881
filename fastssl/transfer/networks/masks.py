"""Masks of a detector: its head, its loss, and masks back in the image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align


class MaskPredictor(nn.Module):
    """Region maps [R, C, h, w] to a mask's logits per class, [R, K, 2 h, 2 w]."""

    def __init__(self, in_channels: int, classes: int, channels: int = 256) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(in_channels, channels, 2, stride=2)
        self.predictor = nn.Conv2d(channels, classes, 1)
        nn.init.kaiming_normal_(self.deconv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.predictor.weight, std=0.001)
        for layer in (self.deconv, self.predictor):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float32."""
        logits: Tensor = self.predictor(functional.relu(self.deconv(x)))
        return logits.float()


def mask_loss(
    logits: Tensor,
    classes: Tensor,
    boxes: Sequence[Tensor],
    masks: Sequence[Tensor],
    matched: Sequence[Tensor],
) -> Tensor:
    """Mean binary cross entropy over the pixels of the regions' own classes, 0-dim; 0 without regions.

    Args:
        logits: [R, K, M, M] of the regions that are objects, image by image.
        classes: int64 [R].
        boxes: per image, its regions [r_b, 4].
        masks: per image, bool [n_b, H, W] of its objects.
        matched: per image, int64 [r_b], object of each region.
    """
    if not len(logits):
        return logits.sum() * 0
    side = logits.shape[-1]
    targets = torch.cat([mask_targets(*each, side) for each in zip(boxes, masks, matched, strict=True)])
    own = logits[torch.arange(len(logits), device=logits.device), classes]
    return functional.binary_cross_entropy_with_logits(own, targets)


def mask_targets(boxes: Tensor, masks: Tensor, matched: Tensor, side: int) -> Tensor:
    """Masks within boxes [r, 4], float32 [r, side, side]: 1 where at least half of the samples are inside."""
    if not len(boxes):
        return boxes.new_zeros((0, side, side))
    rois = torch.cat([matched[:, None].to(boxes), boxes], dim=1)
    inside = roi_align(masks[:, None].to(boxes), rois, side, 1.0, 0, aligned=True)[:, 0]
    return (inside >= 0.5).float()


def paste_masks(probabilities: Tensor, boxes: Tensor, height: int, width: int) -> np.ndarray:
    """Masks of boxes in an image, bool [n, height, width]: bilinear, 0 outside, true from one half on.

    Args:
        probabilities: [n, M, M].
        boxes: [n, 4] in pixels of the image.
    """
    found = np.zeros((len(boxes), height, width), dtype=bool)
    for mask, box, out in zip(probabilities, boxes.tolist(), found, strict=True):
        left, top = (max(0, math.floor(value) - 1) for value in box[:2])
        right = min(width, math.ceil(box[2]) + 1)
        bottom = min(height, math.ceil(box[3]) + 1)
        x = torch.arange(left, right, device=mask.device) + 0.5
        y = torch.arange(top, bottom, device=mask.device) + 0.5
        x = (x - box[0]) / (box[2] - box[0]) * 2 - 1
        y = (y - box[1]) / (box[3] - box[1]) * 2 - 1
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=2)[None]
        inside = functional.grid_sample(mask[None, None], grid.to(mask), align_corners=False)[0, 0] >= 0.5
        out[top:bottom, left:right] = inside.cpu().numpy()
    return found
