"""Region proposal network with detectron2's anchors and losses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from fastssl.transfer.networks.detector_settings import DetectorSettings


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


class ProposalNetwork(RegionProposalNetwork):
    """torchvision's region proposal network; sums of losses are over the anchors asked for per image.

    torchvision divides by the anchors found, which are fewer where an image is small, and has another beta.
    """

    def __init__(
        self,
        channels: int,
        sizes: tuple[tuple[int, ...], ...],
        strides: tuple[int, ...],
        settings: DetectorSettings,
    ) -> None:
        anchors = Anchors(sizes, settings.anchor_ratios, strides)
        super().__init__(
            anchors,
            _Head(channels, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=settings.anchors_per_image,
            positive_fraction=0.5,
            pre_nms_top_n=dict(zip(("training", "testing"), settings.proposals_scored, strict=True)),
            post_nms_top_n=dict(zip(("training", "testing"), settings.proposals_kept, strict=True)),
            nms_thresh=settings.proposal_overlap,
        )
        self._beta = settings.l1_below

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Losses of objectness and of boxes, 0-dim.

        Args:
            objectness: logits [n, 1] of all images' anchors.
            pred_bbox_deltas: [n, 4].
            labels: per image, 1 object, 0 background, -1 neither.
            regression_targets: per image, [., 4]; those of objects count.
        """
        positive, negative = (torch.cat(masks).bool() for masks in self.fg_bg_sampler(labels))
        asked_for = self.fg_bg_sampler.batch_size_per_image * len(labels)
        box_loss = functional.smooth_l1_loss(
            pred_bbox_deltas[positive],
            torch.cat(regression_targets)[positive],
            beta=self._beta,
            reduction="sum",
        )
        sampled = positive | negative
        class_loss = functional.binary_cross_entropy_with_logits(
            objectness.flatten()[sampled], torch.cat(labels)[sampled], reduction="sum"
        )
        return class_loss / asked_for, box_loss / asked_for


class _Head(RPNHead):
    """torchvision's head; its outputs are float32 under autocast, for boxes need exact pixels."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps to logits [B, A, H, W] and deltas [B, 4 A, H, W] per level."""
        logits, deltas = super().forward(x)
        return [found.float() for found in logits], [found.float() for found in deltas]
