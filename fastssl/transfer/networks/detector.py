"""Two-stage detectors: proposals, and a head that names and refines them (Ren et al., 2015)."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import clip_boxes_to_image

from fastssl.transfer.network import Prediction, TransferNetwork
from fastssl.transfer.networks.boxes import BoxPredictor, box_losses, found_boxes
from fastssl.transfer.networks.detector_settings import DetectorSettings
from fastssl.transfer.networks.masks import MaskPredictor, mask_loss, paste_masks
from fastssl.transfer.networks.proposals import ProposalNetwork
from pipelines.dense.dense_batch import DenseBatch
from pipelines.targets import Targets

_BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
_SMALLEST_SIDE = 1e-5  # pixels; smaller objects have no logarithm to learn


class Detector(TransferNetwork):
    """Base of the detectors: everything but the maps, and what becomes of a region of them.

    Args:
        settings: of the detector.
        proposals: proposals of boxes from the maps.
        boxes: last layers of the head.
        masks: last layers of the mask head, or None.
    """

    def __init__(
        self,
        settings: DetectorSettings,
        proposals: ProposalNetwork,
        boxes: BoxPredictor,
        masks: MaskPredictor | None,
    ) -> None:
        super().__init__()
        self.settings, self.proposals, self.boxes, self.masks = settings, proposals, boxes, masks
        self._classes = boxes.cls_score.out_features - 1
        self._regions = RoIHeads(
            None,
            None,
            None,
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=settings.regions_per_image,
            positive_fraction=0.25,
            bbox_reg_weights=_BOX_WEIGHTS,
            score_thresh=settings.score_at_least,
            nms_thresh=settings.detection_overlap,
            detections_per_img=settings.detections_per_image,
        )

    @abstractmethod
    def maps(self, images: Tensor) -> list[Tensor]:
        """Images [B, 3, H, W] to the maps that proposals and regions come from, finest first."""

    @abstractmethod
    def region_maps(self, maps: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """The R boxes of all images, [n_b, 4] each, cut out of the maps, [R, C, h, w]."""

    @abstractmethod
    def region_features(self, region_maps: Tensor) -> Tensor:
        """Region maps to features [R, F]."""

    @abstractmethod
    def mask_maps(self, maps: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """Boxes as ``region_maps`` has them, to what the mask head's last layers take."""

    def object_maps(
        self, maps: list[Tensor], region_maps: Tensor, boxes: list[Tensor], objects: list[Tensor]
    ) -> Tensor:
        """Same as ``mask_maps`` for the regions that are objects, bool [n_b] per image."""
        return self.mask_maps(maps, [found[chosen] for found, chosen in zip(boxes, objects, strict=True)])

    def losses(self, batch: DenseBatch) -> dict[str, Tensor]:
        """Losses by detectron2's names: two of proposals, two of boxes, one of masks where there are any."""
        targets = [self._targets(each, batch.images.device) for each in batch.targets]
        maps = self.maps(batch.images)
        proposals, found = self.proposals(_image_list(batch), _by_level(maps), targets)
        losses = {"loss_rpn_cls": found["loss_objectness"], "loss_rpn_loc": found["loss_rpn_box_reg"]}
        boxes, matched, labels, deltas = self._regions.select_training_samples(proposals, targets)
        region_maps = self.region_maps(maps, boxes)
        logits, own_deltas = self.boxes(self.region_features(region_maps))
        classes = torch.cat([(each - 1) % (self._classes + 1) for each in labels])  # 0 there: background
        losses["loss_cls"], losses["loss_box_reg"] = box_losses(
            logits, own_deltas, classes, torch.cat(deltas), self.settings.l1_below
        )
        if self.masks is not None:
            objects = [each > 0 for each in labels]
            losses["loss_mask"] = mask_loss(
                self.masks(self.object_maps(maps, region_maps, boxes, objects)),
                classes[classes < self._classes],
                [found[chosen] for found, chosen in zip(boxes, objects, strict=True)],
                [each["masks"] for each in targets],
                [found[chosen] for found, chosen in zip(matched, objects, strict=True)],
            )
        return losses

    @torch.no_grad()
    def predict(self, batch: DenseBatch) -> list[Prediction]:
        """Boxes, and masks where it predicts them, in the pixels of the original images."""
        maps = self.maps(batch.images)
        proposals, _ = self.proposals(_image_list(batch), _by_level(maps))
        logits, deltas = self.boxes(self.region_features(self.region_maps(maps, proposals)))
        decoded = self._regions.box_coder.decode(deltas, proposals).reshape(-1, self._classes, 4)
        counts = [len(each) for each in proposals]
        found = [
            found_boxes(probabilities, boxes, (int(height), int(width)), self.settings)
            for probabilities, boxes, (height, width) in zip(
                logits.softmax(1).split(counts), decoded.split(counts), batch.sizes, strict=True
            )
        ]
        masks = self._masks(maps, [each[0] for each in found], [each[2] for each in found])
        return [
            _prediction(*found[image], masks[image], batch.sizes[image], batch.original_sizes[image])
            for image in range(len(found))
        ]

    def _masks(
        self, maps: list[Tensor], boxes: list[Tensor], classes: list[Tensor]
    ) -> tuple[Tensor | None, ...]:
        """Per image, the probabilities [m, M, M] of the masks of its boxes; None without a mask head."""
        if self.masks is None:
            return (None,) * len(boxes)
        logits = self.masks(self.mask_maps(maps, boxes))
        own = logits[torch.arange(len(logits), device=logits.device), torch.cat(classes)]
        parts: tuple[Tensor, ...] = own.sigmoid().split([len(each) for each in boxes])
        return parts

    def _targets(self, targets: Targets, device: torch.device) -> dict[str, Tensor]:
        """Objects that are trained on, as torchvision takes them: classes from 1; crowds are left out."""
        assert targets.boxes is not None
        assert targets.classes is not None
        kept = ((targets.boxes[:, 2:] - targets.boxes[:, :2]) > _SMALLEST_SIDE).all(1)
        if targets.crowd is not None:
            kept &= ~targets.crowd
        found = {
            "boxes": torch.from_numpy(targets.boxes[kept]).to(device),
            "labels": torch.from_numpy(targets.classes[kept] + 1).to(device),
        }
        if self.masks is not None:
            assert targets.masks is not None
            found["masks"] = torch.from_numpy(targets.masks[kept]).to(device)
        return found


def _image_list(batch: DenseBatch) -> ImageList:
    return ImageList(batch.images, [(int(height), int(width)) for height, width in batch.sizes])


def _by_level(maps: list[Tensor]) -> dict[str, Tensor]:
    return {str(level): found for level, found in enumerate(maps)}


def _prediction(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    masks: Tensor | None,
    size: np.ndarray,
    original_size: np.ndarray,
) -> Prediction:
    """Boxes of a view of ``size`` in its original image; those without a pixel's width are dropped."""
    height, width = (int(side) for side in original_size)
    scale = torch.tensor([width / size[1], height / size[0]] * 2, dtype=torch.float32, device=boxes.device)
    boxes = clip_boxes_to_image(boxes * scale, (height, width))
    kept = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
    boxes, scores, classes = boxes[kept], scores[kept], classes[kept]
    return Prediction(
        boxes=boxes.cpu().numpy(),
        scores=scores.cpu().numpy(),
        classes=classes.cpu().numpy(),
        masks=None if masks is None else paste_masks(masks[kept], boxes, height, width),
    )
