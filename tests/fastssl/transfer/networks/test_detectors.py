"""Detectors as a whole: sizes, targets that count, predictions' pixels, resume."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fastssl.models import ResNet, ResNet9
from fastssl.models.backbone import build_backbone
from fastssl.optim.train_step import TrainStep
from fastssl.transfer.networks.deeplab import DeepLab
from fastssl.transfer.networks.detector import Detector
from fastssl.transfer.networks.detector_settings import DetectorSettings
from fastssl.transfer.networks.faster_rcnn_c4 import FasterRCNNC4
from fastssl.transfer.networks.fpn import FPNDetector, FPNSettings
from pipelines.command.errors import UserError
from tests.helpers.dense_batches import CLASSES, batch_of, dense_batch, encoder

FEW: dict[str, Any] = {"proposals_kept": (50, 30), "regions_per_image": 16, "detections_per_image": 10}


def c4(**changes: Any) -> Any:
    torch.manual_seed(1)
    return FasterRCNNC4(encoder(), CLASSES, replace(DetectorSettings(masks=True).small(), **FEW | changes))


def fpn(**changes: Any) -> Any:
    torch.manual_seed(1)
    return FPNDetector(encoder(), CLASSES, replace(FPNSettings(masks=True).small(), **FEW | changes))


BOTH = pytest.mark.parametrize("build", [c4, fpn])


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_of_r50_c4() -> None:
    """Those of detectron2's R50-C4 for 20 classes, and of MoCo's norm behind res5."""
    with torch.device("meta"):
        network = FasterRCNNC4(build_backbone(ResNet.Config()), 20)
    resnet = 23_508_032
    proposals = 1024 * 1024 * 9 + 1024 + (1024 + 1) * 15 + (1024 + 1) * 60
    boxes = (2048 + 1) * 21 + (2048 + 1) * 80
    assert parameters(network) == resnet + proposals + boxes + 2 * 2048


def test_parameters_of_r50_fpn() -> None:
    """Mask R-CNN with norms, 4 convolutions and 1 layer in the box head, for 80 classes."""
    with torch.device("meta"):
        network = FPNDetector(build_backbone(ResNet.Config()), 80, FPNSettings(masks=True))
    resnet, conv = 23_508_032, 256 * 256 * 9
    pyramid = 256 * (256 + 512 + 1024 + 2048) + 4 * conv + 8 * 2 * 256
    proposals = conv + 256 + (256 + 1) * 3 + (256 + 1) * 12
    boxes = 4 * (conv + 2 * 256) + (256 * 49 + 1) * 1024 + 1025 * 81 + 1025 * 320
    masks = 4 * (conv + 2 * 256) + 256 * 256 * 4 + 256 + 257 * 80
    assert parameters(network) == resnet + pyramid + proposals + boxes + masks


@pytest.mark.parametrize(("masks", "published"), [(False, 41_755_286), (True, 44_401_393)])
def test_parameters_without_norms_and_with_two_layers(masks: bool, published: int) -> None:
    """torchvision's published numbers, for COCO, less boxes and masks of the background."""
    settings = FPNSettings(masks=masks, norm=False, frozen_norms=True, box_convolutions=0, box_layers=2)
    with torch.device("meta"):
        network = FPNDetector(build_backbone(ResNet.Config()), 90, settings)
    assert parameters(network) == published - 4 * 1025 - masks * 257


@BOTH
def test_every_parameter_is_trained_and_images_without_objects_count(build: Any) -> None:
    network = build().train()
    loss, parts = network(dense_batch(), 0)
    loss.backward()
    assert set(parts) == {"loss", "loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"}
    assert not [name for name, value in network.named_parameters() if value.grad is None]
    loss, parts = network(dense_batch((0, 0, 0)), 0)  # DistributedDataParallel waits for every gradient
    network.zero_grad(set_to_none=True)
    loss.backward()
    assert torch.isfinite(loss)
    assert parts["loss_box_reg"] == parts["loss_mask"] == 0
    assert not [name for name, value in network.named_parameters() if value.grad is None]


def test_crowds_and_boxes_without_area_are_not_trained_on() -> None:
    batch: Any = dense_batch()
    crowded = []
    for targets in batch.targets:
        count = len(targets.classes)
        extra = np.array([[10, 10, 60, 60], [20, 20, 20, 30]], dtype=np.float32)
        crowded.append(
            replace(
                targets,
                boxes=np.concatenate([targets.boxes, extra]),
                classes=np.concatenate([targets.classes, [0, 0]]),
                crowd=np.arange(count + 2) == count,
                masks=np.concatenate([targets.masks, np.ones((2, *targets.masks.shape[1:]), dtype=bool)]),
            )
        )
    found = []
    for each in (batch, replace(batch, targets=tuple(crowded))):
        network = c4().train()
        torch.manual_seed(0)
        found.append(network.losses(each))
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@BOTH
def test_predictions_are_in_original_pixels(build: Any) -> None:
    network = build().eval()
    one, two = (network.predict(dense_batch(double=double)) for double in (False, True))
    for small, large, (height, width) in zip(one, two, dense_batch().sizes, strict=True):
        assert len(small.boxes) > 0
        np.testing.assert_allclose(2 * small.boxes, large.boxes, rtol=1e-6)
        assert (large.boxes >= 0).all()
        assert (large.boxes <= [2 * width, 2 * height, 2 * width, 2 * height]).all()
        assert large.masks.shape == (len(large.boxes), 2 * height, 2 * width)
        assert (np.diff(large.scores) <= 0).all()
        assert set(large.classes) <= set(range(CLASSES))


def test_padding_is_no_part_of_an_image() -> None:
    """An image's boxes do not depend on what it is batched with, but on the zeros beside it."""
    network = c4().eval()
    batch = dense_batch()
    alone = batch_of(batch.images[1:2], batch.targets[1:2])
    (single,), together = network.predict(alone), network.predict(batch)[1]
    np.testing.assert_allclose(single.boxes, together.boxes, atol=1e-3)
    np.testing.assert_allclose(single.scores, together.scores, atol=1e-5)


@BOTH
def test_resume_is_bit_equal(build: Any) -> None:
    """Two steps are two steps, also where the second begins with a fresh network and generator."""

    def step(network: Detector, number: int, optimizer_state: Any = None) -> Any:
        optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
        if optimizer_state is not None:
            optimizer.load_state_dict(copy.deepcopy(optimizer_state))
        batches: Iterator[Any] = iter([dense_batch(seed=number)])
        TrainStep(network, optimizer, device=torch.device("cpu"), seed=5)(batches, number, 0.02)
        return copy.deepcopy(optimizer.state_dict())

    torch.set_num_threads(1)
    network = build().train()
    kept = step(network, 0)
    other = build().train()
    other.load_state_dict(network.state_dict())
    step(network, 1, kept)
    torch.manual_seed(99)
    step(other, 1, kept)
    found = other.state_dict()
    assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())


def test_frozen_norms_stay() -> None:
    network = c4(frozen_norms=True).train()
    before = copy.deepcopy(network.state_dict())
    network(dense_batch(), 0)[0].backward()
    after = network.state_dict()
    assert "encoder.bn1.weight" in after
    assert "encoder.bn1.weight" not in dict(network.named_parameters())
    assert all(torch.equal(before[name], after[name]) for name in after if name.startswith("encoder."))
    assert not torch.equal(before["norm.running_mean"], after["norm.running_mean"])


def test_the_encoder_given_is_left_alone() -> None:
    given = encoder()
    before = copy.deepcopy(given.state_dict())
    network = FasterRCNNC4(given, CLASSES, DetectorSettings().small()).train()
    network(dense_batch(), 0)[0].backward()
    assert not given.training
    assert all(torch.equal(before[name], value) for name, value in given.state_dict().items())


@pytest.mark.parametrize("kind", [FasterRCNNC4, FPNDetector, DeepLab])
def test_other_encoders_are_refused(kind: Any) -> None:
    with pytest.raises(UserError, match="is built on a ResNet of 18, 50 or 101 layers"):
        kind(build_backbone(ResNet9.Config(width=0.1)), CLASSES)
