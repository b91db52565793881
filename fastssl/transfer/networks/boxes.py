"""Boxes of a detector's head: the last layers, their losses, and the boxes found."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms, clip_boxes_to_image

from fastssl.transfer.networks.detector_settings import DetectorSettings


class BoxPredictor(nn.Module):
    """Features [R, F] to class logits [R, K + 1], the background's last, and deltas [R, 4 K] per class."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(features, classes + 1)
        self.bbox_pred = nn.Linear(features, 4 * classes)
        for layer, deviation in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and deltas, float32."""
        return self.cls_score(x).float(), self.bbox_pred(x).float()


def box_losses(
    logits: Tensor, deltas: Tensor, classes: Tensor, targets: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    """Losses of classes and of boxes over R regions, 0-dim: means over all regions, 0 without any.

    Args:
        logits: [R, K + 1].
        deltas: [R, 4 K].
        classes: int64 [R]; K is the background, whose boxes do not count.
        targets: [R, 4], deltas to the object of each region.
        beta: see ``DetectorSettings.l1_below``.
    """
    regions, background = len(logits), logits.shape[1] - 1
    class_loss = functional.cross_entropy(logits, classes, reduction="sum")
    objects = torch.where(classes < background)[0]
    own = deltas.view(regions, background, 4)[objects, classes[objects]]
    box_loss = functional.smooth_l1_loss(own, targets[objects], beta=beta, reduction="sum")
    return class_loss / max(1, regions), box_loss / max(1, regions)


def found_boxes(
    probabilities: Tensor, boxes: Tensor, size: tuple[int, int], settings: DetectorSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes found in an image [m, 4], with scores [m], falling, and classes int64 [m].

    Args:
        probabilities: [R, K + 1].
        boxes: [R, K, 4], of each region by class.
        size: height and width that boxes are clipped to.
    """
    boxes = clip_boxes_to_image(boxes, size)
    regions, classes = torch.where(probabilities[:, :-1] > settings.score_at_least)
    scores, boxes = probabilities[regions, classes], boxes[regions, classes]
    kept = batched_nms(boxes, scores, classes, settings.detection_overlap)[: settings.detections_per_image]
    return boxes[kept], scores[kept], classes[kept]
