"""Detectron2's settings, each by a value worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from fastssl.transfer.networks.boxes import BoxPredictor, box_losses, found_boxes
from fastssl.transfer.networks.detector_settings import DetectorSettings
from fastssl.transfer.networks.fpn import FPNSettings
from fastssl.transfer.networks.masks import mask_loss, mask_targets, paste_masks
from fastssl.transfer.networks.proposals import Anchors, ProposalNetwork
from fastssl.transfer.networks.regions import box_levels, pool_regions

C4 = DetectorSettings()


def proposal_network(settings: DetectorSettings = C4) -> ProposalNetwork:
    return ProposalNetwork(4, (settings.anchor_sizes,), (16,), settings)


def test_anchors_start_at_the_corner_unrounded_with_the_ratios_of_a_size_in_a_row() -> None:
    anchors = Anchors((C4.anchor_sizes,), C4.anchor_ratios, (16,))
    image = ImageList(torch.zeros(1, 3, 32, 48), [(32, 48)])
    (boxes,) = anchors(image, [torch.zeros(1, 4, 2, 3)])
    assert boxes.shape == (2 * 3 * 15, 4)
    a = math.sqrt(32 * 32 / 0.5) / 2, math.sqrt(32 * 32 * 0.5) / 2  # half the width and height: 22.63, 11.31
    first = torch.tensor([[-a[0], -a[1], a[0], a[1]], [-16, -16, 16, 16], [-a[1], -a[0], a[1], a[0]]])
    torch.testing.assert_close(boxes[:3], first)
    torch.testing.assert_close(boxes[4], torch.tensor([-32.0, -32, 32, 32]))  # the next size
    torch.testing.assert_close(
        boxes[15 + 1], torch.tensor([0.0, -16, 32, 16])
    )  # the next pixel: to the right
    torch.testing.assert_close(boxes[45 + 13], torch.tensor([-256.0, -240, 256, 272]))  # the next row


def test_numbers_of_proposals() -> None:
    network = proposal_network()
    assert (network.train().pre_nms_top_n(), network.post_nms_top_n()) == (12_000, 2000)
    assert (network.eval().pre_nms_top_n(), network.post_nms_top_n()) == (6000, 1000)
    assert (FPNSettings().proposals_scored, FPNSettings().proposals_kept) == ((2000, 1000), (1000, 1000))


def test_the_best_proposals_are_scored_and_the_best_of_those_apart_are_kept() -> None:
    network = proposal_network(replace(C4, proposals_scored=(3, 3), proposals_kept=(2, 1)))
    side = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [20, 20, 30, 30], [40, 40, 50, 60]])
    logits = torch.tensor([[3.0], [2.0], [1.0], [0.0]])
    kept, _ = network.train().filter_proposals(side[None], logits, [(48, 50)], [4])
    torch.testing.assert_close(kept[0], side[[0, 2]])  # the second overlaps by .8; the fourth is not scored
    kept, _ = network.eval().filter_proposals(side[None], logits, [(48, 50)], [4])
    torch.testing.assert_close(kept[0], side[[0]])
    kept, _ = network.filter_proposals(side[None, 3:], logits[3:], [(48, 50)], [1])
    torch.testing.assert_close(kept[0], torch.tensor([[40.0, 40, 50, 48]]))  # clipped to the image


def test_losses_of_proposals_are_divided_by_the_anchors_asked_for() -> None:
    network = proposal_network(replace(C4, anchors_per_image=8))
    labels = [torch.tensor([1.0, 0.0, -1.0]), torch.tensor([0.0, 0.0, 0.0])]
    deltas, targets = torch.zeros(6, 4), torch.zeros(6, 4)
    targets[0] = torch.tensor([0.5, -0.5, 2.0, 0.0])
    targets[1:] = 7  # of background: nothing
    class_loss, box_loss = network.compute_loss(torch.zeros(6, 1), deltas, labels, list(targets.split(3)))
    assert class_loss.item() == pytest.approx(5 * math.log(2) / 16)  # five labels of log 2, 2 images of 8
    assert box_loss.item() == pytest.approx(3 / 16)  # L1: .5 + .5 + 2


def test_losses_of_boxes_are_l1_of_the_own_class_over_all_regions() -> None:
    logits = torch.zeros(4, 3)  # two classes and the background
    deltas = torch.zeros(4, 8, requires_grad=True)
    classes = torch.tensor([1, 2, 2, 2])
    targets = torch.tensor([[0.2, -0.2, 1.6, 0.0]] * 4)
    class_loss, box_loss = box_losses(logits, deltas, classes, targets, beta=0.0)
    assert class_loss.item() == pytest.approx(math.log(3))
    assert box_loss.item() == pytest.approx(2.0 / 4)
    box_loss.backward()
    assert deltas.grad is not None
    assert deltas.grad.nonzero()[:, 1].tolist() == [4, 5, 6]  # of class 1
    _, smooth = box_losses(logits, deltas, classes, targets, beta=1.0)
    assert smooth.item() == pytest.approx((0.02 + 0.02 + 1.1) / 4)
    nothing = box_losses(logits[:0], deltas[:0], classes[:0], targets[:0], beta=0.0)
    assert [loss.item() for loss in nothing] == [0, 0]


def test_first_weights_of_the_last_layers() -> None:
    torch.manual_seed(0)
    layers = BoxPredictor(1000, 20)
    assert layers.cls_score.weight.shape == (21, 1000)
    assert layers.bbox_pred.weight.shape == (80, 1000)
    assert layers.cls_score.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert layers.bbox_pred.weight.std().item() == pytest.approx(0.001, rel=0.02)
    assert not layers.cls_score.bias.any()


def ramp(square: bool = False) -> Tensor:
    """[1, 1, 8, 8], the pixel's column, or its square."""
    columns = torch.arange(8.0).expand(1, 1, 8, 8)
    return columns.square() if square else columns.contiguous()


def test_regions_are_aligned() -> None:
    box = torch.tensor([[0.0, 0, 4, 4]])  # pixels 0 and 1 of a map of stride 2
    assert pool_regions([ramp()], (2,), [box], 1).item() == 0.5  # 1 where pixel centers lie at whole numbers


def test_bins_have_as_many_samples_as_pixels() -> None:
    box = torch.tensor([[0.0, 0, 3, 3]])
    assert pool_regions([ramp(square=True)], (1,), [box], 1).item() == pytest.approx((0 + 1 + 4) / 3)
    # two samples, as torchvision's detectors have: 1.75


@pytest.mark.parametrize(
    ("side", "level"), [(10, 0), (111, 0), (112, 1), (223, 1), (224, 2), (447, 2), (448, 3), (2000, 3)]
)
def test_level_of_a_box(side: int, level: int) -> None:
    boxes = torch.tensor([[5.0, 5, 5 + side / 2, 5 + side * 2]])
    assert box_levels(boxes, (4, 8, 16, 32), 224).tolist() == [level]


def test_regions_come_from_their_level_in_order() -> None:
    maps = [torch.full((2, 1, 64 // stride, 64 // stride), float(stride)) for stride in (4, 8, 16, 32)]
    maps[0][1] = 40.0
    boxes = [torch.tensor([[0.0, 0, 60, 60], [0, 0, 15, 15]]), torch.tensor([[0.0, 0, 15, 15]])]
    pooled = pool_regions(maps, (4, 8, 16, 32), boxes, 2, canonical_box=56)
    assert pooled[:, 0, 0, 0].tolist() == [16, 4, 40]


def test_boxes_found() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 4], [90, 90, 120, 120]])[:, None]
    scores = torch.tensor([[0.9, 0.06, 0.04], [0.8, 0.05, 0.15], [0.7, 0.05, 0.25], [0.3, 0.2, 0.5]])
    found, probabilities, classes = found_boxes(scores, boxes.expand(-1, 2, 4), (100, 110), C4)
    # class 0: the second overlaps the first by .6 and is dropped, the third by .4 and stays;
    # class 1: .06 and .2 are above .05, .05 is not; the last is clipped
    torch.testing.assert_close(probabilities, torch.tensor([0.9, 0.7, 0.3, 0.2, 0.06]))
    assert classes.tolist() == [0, 0, 0, 1, 1]
    torch.testing.assert_close(found[[0, 1, 4]], boxes[[0, 2, 0], 0])
    torch.testing.assert_close(found[2], torch.tensor([90.0, 90, 110, 100]))


def test_at_most_a_hundred_boxes_are_found() -> None:
    left = torch.arange(150.0) * 10
    boxes = torch.stack([left, left * 0, left + 5, left * 0 + 5], dim=1)[:, None]
    scores = torch.linspace(0.9, 0.5, 150)
    found, _, _ = found_boxes(torch.stack([scores, 1 - scores], dim=1), boxes, (10, 1500), C4)
    torch.testing.assert_close(found, boxes[:100, 0])


def test_masks_in_boxes() -> None:
    mask = torch.zeros(2, 8, 8, dtype=torch.bool)
    mask[1, :, :4] = True
    inside = mask_targets(torch.tensor([[2.0, 0, 6, 4], [1.0, 0, 7, 6]]), mask, torch.tensor([1, 1]), 2)
    assert inside.tolist() == [[[1, 0], [1, 0]]] * 2
    third = mask_targets(torch.tensor([[0.0, 0, 6, 6]]), mask, torch.tensor([1]), 3)
    assert third[0, 0].tolist() == [1, 1, 0]


def test_loss_of_masks_is_of_the_own_class() -> None:
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[0, :, :4] = True
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 0] = 50.0  # another class
    boxes = [torch.tensor([[2.0, 0, 6, 4]]), torch.zeros(0, 4)]
    matched = [torch.tensor([0]), torch.zeros(0, dtype=torch.int64)]
    loss = mask_loss(logits, torch.tensor([1]), boxes, [masks, masks[:0]], matched)
    assert loss.item() == pytest.approx(math.log(2))
    assert mask_loss(logits[:0], torch.zeros(0), [], [], []).item() == 0


def test_masks_in_the_image() -> None:
    probabilities = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]] * 2)
    boxes = torch.tensor([[1.0, 1, 5, 5], [3.5, 0, 4.5, 6]])
    found = paste_masks(probabilities, boxes, 6, 6)
    expected = np.zeros((2, 6, 6), dtype=bool)
    expected[0, 1:5, 1:3] = True  # columns' weights are .75 .75 .25 0, the outer rows' .75: .75 x .75 > .5
    expected[1, 1:5, 3] = False  # column 3.5 - 4.5: its centers lie on the box's edges
    assert np.array_equal(found[0], expected[0])
    assert not found[1][:, :3].any()
    assert not found[1][:, 5:].any()
