"""Losses and boxes of both detectors against torchvision's ``FasterRCNN`` with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, roi_heads
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign, poolers, roi_align

from fastssl.transfer.networks.detector import Detector
from fastssl.transfer.networks.detector_settings import DetectorSettings
from fastssl.transfer.networks.faster_rcnn_c4 import FasterRCNNC4
from fastssl.transfer.networks.fpn import FPNDetector, FPNSettings
from fastssl.transfer.networks.masks import mask_loss
from tests.helpers.dense_batches import CLASSES, SIZE, dense_batch, encoder

NAMES = {
    "loss_rpn_cls": "loss_objectness",
    "loss_rpn_loc": "loss_rpn_box_reg",
    "loss_cls": "loss_classifier",
    "loss_box_reg": "loss_box_reg",
}
ALIKE: dict[str, Any] = {  # where torchvision differs: square anchors need no rounding, its beta is 1/9
    "anchor_ratios": (1.0,),
    "l1_below": 1 / 9,
    "proposals_kept": (60, 40),
    "regions_per_image": 24,
}


class Maps(nn.Module):
    def __init__(self, network: Detector, channels: int, names: list[str]) -> None:
        super().__init__()
        self.network, self.out_channels, self._names = network, channels, names

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return dict(zip(self._names, self.network.maps(images), strict=True))


class Head(nn.Module):
    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.forward = forward


class BackgroundFirst(nn.Module):
    """Our last layers as torchvision's: the background is class 0, with boxes of its own."""

    def __init__(self, network: Detector) -> None:
        super().__init__()
        self._boxes = network.boxes

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = self._boxes(x)
        return logits.roll(1, dims=1), torch.cat([deltas.new_zeros(len(x), 4), deltas], dim=1)


def c4() -> tuple[Detector, nn.Module]:
    torch.manual_seed(2)
    settings = replace(DetectorSettings().small(), **ALIKE)
    network = FasterRCNNC4(encoder(), CLASSES, settings)

    def head(x: Tensor) -> Tensor:
        features: Tensor = network.norm(network.encoder.layer4(x)).mean((2, 3))
        return features

    anchors = AnchorGenerator((settings.anchor_sizes,), ((1.0,),))
    pool = MultiScaleRoIAlign(["0"], 14, 0)
    return network, reference(network, settings, Maps(network, 64, ["0"]), anchors, pool, Head(head))


def fpn() -> tuple[Detector, nn.Module]:
    torch.manual_seed(2)
    settings = replace(FPNSettings().small(), **ALIKE)
    network = FPNDetector(encoder(), CLASSES, settings)
    anchors = AnchorGenerator(tuple((size,) for size in settings.anchor_sizes), ((1.0,),) * 5)
    pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 0, canonical_scale=settings.canonical_box)
    maps = Maps(network, settings.channels, ["0", "1", "2", "3", "pool"])
    return network, reference(network, settings, maps, anchors, pool, network.box_head)


def reference(
    network: Detector,
    settings: DetectorSettings,
    maps: Maps,
    anchors: AnchorGenerator,
    pool: MultiScaleRoIAlign,
    head: nn.Module,
) -> nn.Module:
    found = FasterRCNN(
        maps,
        min_size=SIZE,
        max_size=SIZE,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_train=settings.proposals_scored[0],
        rpn_pre_nms_top_n_test=settings.proposals_scored[1],
        rpn_post_nms_top_n_train=settings.proposals_kept[0],
        rpn_post_nms_top_n_test=settings.proposals_kept[1],
        rpn_batch_size_per_image=settings.anchors_per_image,
        box_roi_pool=pool,
        box_head=head,
        box_predictor=BackgroundFirst(network),
        box_batch_size_per_image=settings.regions_per_image,
    )
    found.rpn.head.load_state_dict(network.proposals.head.state_dict())
    return found


@pytest.mark.parametrize("build", [c4, fpn])
def test_one_step_and_its_boxes_are_torchvisions(
    build: Callable[[], tuple[Detector, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poolers, "roi_align", partial(roi_align, aligned=True))
    network, theirs = build()
    nn.init.normal_(network.boxes.cls_score.weight, std=0.3)  # scores that differ
    nn.init.normal_(network.boxes.bbox_pred.weight, std=0.1)
    batch: Any = dense_batch((2, 0), ((SIZE, SIZE), (SIZE, SIZE)))
    images = list(batch.images.unbind())
    targets = [
        {"boxes": torch.from_numpy(each.boxes), "labels": torch.from_numpy(each.classes + 1)}
        for each in batch.targets
    ]
    network.train(), theirs.train()
    theirs.transform.eval()  # it draws a size, of the one there is
    torch.manual_seed(7)
    ours = network.losses(batch)
    torch.manual_seed(7)
    expected = theirs(images, targets)
    assert ours["loss_box_reg"] > 0
    for name, their_name in NAMES.items():
        torch.testing.assert_close(ours[name], expected[their_name], rtol=1e-5, atol=1e-6)
    network.eval(), theirs.eval()
    predictions: list[Any] = network.predict(batch)
    for found, boxes in zip(predictions, theirs(images), strict=True):
        assert len(boxes["scores"]) > 5
        torch.testing.assert_close(torch.from_numpy(found.boxes), boxes["boxes"], rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(torch.from_numpy(found.scores), boxes["scores"], rtol=1e-5, atol=1e-6)
        assert (found.classes + 1).tolist() == boxes["labels"].tolist()


def test_the_loss_of_masks_is_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes of as many pixels as a mask has: torchvision, which does not round its targets, has none to."""
    monkeypatch.setattr(roi_heads, "roi_align", partial(roi_align, aligned=True))
    torch.manual_seed(0)
    masks = [torch.rand(count, 64, 64) < 0.5 for count in (2, 1)]
    boxes = [torch.tensor([[3.0, 5, 31, 33], [20, 30, 48, 58]]), torch.tensor([[0.0, 36, 28, 64]])]
    matched = [torch.tensor([1, 0]), torch.tensor([0])]
    labels = [torch.tensor([2, 0]), torch.tensor([1])]
    logits = torch.randn(3, CLASSES, 28, 28)
    ours = mask_loss(logits, torch.tensor([0, 2, 1]), boxes, masks, matched)
    theirs = roi_heads.maskrcnn_loss(logits, boxes, masks, labels, matched)
    torch.testing.assert_close(ours, theirs)
