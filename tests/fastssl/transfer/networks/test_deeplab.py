"""DeepLab v3 against torchvision's where the settings agree, and by hand where they do not."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.models.resnet import Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from fastssl.models import ResNet
from fastssl.models.backbone import build_backbone
from fastssl.transfer.networks.deeplab import DeepLab, DeepLabSettings, pixel_loss
from pipelines.targets import IGNORED
from tests.helpers.dense_batches import CLASSES, dense_batch, encoder

SMALL = DeepLabSettings().small()


def test_parameters_of_r50() -> None:
    """DeepLab v3 of detectron2's project for 19 classes."""
    with torch.device("meta"):
        network = DeepLab(build_backbone(ResNet.Config()), 19)
    pyramid = 256 * 2048 * (1 + 3 * 9 + 1) + 256 + 5 * 256 * 256 + 5 * 2 * 256
    assert sum(value.numel() for value in network.parameters()) == 23_508_032 + pyramid + 257 * 19


@pytest.mark.parametrize(("stride", "third", "fourth"), [(8, [2, 2], [4, 8, 16]), (16, [1, 1], [2, 4, 8])])
def test_strides_and_dilations(stride: Literal[8, 16], third: list[int], fourth: list[int]) -> None:
    with torch.device("meta"):
        network: Any = DeepLab(build_backbone(ResNet.Config()), 19, DeepLabSettings(stride=stride))
        last = network.encoder.stages(torch.zeros(1, 3, 64, 128))[-1]
    assert last.shape[2:] == (64 // stride, 128 // stride)
    stages = network.encoder.layer3, network.encoder.layer4
    found = [[block.conv2.dilation[0] for block in stage] for stage in stages]
    assert (found[0][:2], found[1]) == (third, fourth)
    assert all(block.conv2.padding == block.conv2.dilation for stage in stages for block in stage)


def test_the_encoder_is_torchvisions_dilated_one() -> None:
    """Same weights, torchvision's dilations: those of the stage before in each first block, no multigrid."""
    torch.manual_seed(0)
    theirs = TorchvisionResNet(Bottleneck, [1, 1, 1, 1], replace_stride_with_dilation=[False, True, True])
    theirs.eval()
    network = DeepLab(build_backbone(ResNet.Config()), 2, replace(SMALL, multigrid=(1, 1, 1))).eval()
    for stage, dilation in (("layer1", 1), ("layer2", 1), ("layer3", 1), ("layer4", 2)):
        blocks = getattr(network.encoder, stage)
        setattr(network.encoder, stage, blocks[:1])
        if stage in ("layer3", "layer4"):  # what torchvision does in a first block
            blocks[0].conv2.dilation = blocks[0].conv2.padding = (dilation, dilation)
    network.encoder.load_state_dict(theirs.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    expected = theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x)))))
    expected = theirs.layer4(theirs.layer3(theirs.layer2(expected)))
    torch.testing.assert_close(network.encoder.stages(x)[-1], expected)


def test_the_pyramid_is_torchvisions() -> None:
    """Same weights; torchvision's norm of the pooled image made a bias, its 3x3 convolution the identity."""
    torch.manual_seed(0)
    settings = DeepLabSettings(rates=(2, 3, 4))
    network: Any = DeepLab(encoder(), CLASSES, settings).eval()
    nn.init.normal_(network.predictor.weight)
    theirs: Any = DeepLabHead(128, CLASSES, (2, 3, 4)).eval()
    state = network.pyramid.state_dict()
    pooling = theirs[0].convs[-1]
    nn.init.normal_(network.pyramid.convs[-1].conv.bias)
    state["convs.4.1.weight"] = state.pop("convs.4.conv.weight")
    pooling[2].bias.data = state.pop("convs.4.conv.bias")
    missing, unknown = theirs[0].load_state_dict(state, strict=False)
    assert unknown == []
    assert all(name.startswith("convs.4.2.") for name in missing)
    pooling[2].running_var.fill_(1 - pooling[2].eps)
    nn.init.dirac_(theirs[1].weight)
    theirs[2].running_var.fill_(1 - theirs[2].eps)
    theirs[4].load_state_dict(network.predictor.state_dict())
    maps = torch.rand(2, 128, 9, 11)
    torch.testing.assert_close(network.predictor(network.pyramid(maps)), theirs(maps), rtol=1e-4, atol=1e-5)


def test_losses_by_hand() -> None:
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, :, 0, 0] = torch.tensor([math.log(3), 0.0])
    classes = torch.tensor([[[0, 1], [1, IGNORED]]])
    easy, hard = math.log(4 / 3), math.log(2)
    assert pixel_loss(logits, classes, 1.0).item() == pytest.approx((easy + 2 * hard) / 3)
    assert pixel_loss(logits, classes, 0.5).item() == pytest.approx(hard)  # the two hardest of four
    assert pixel_loss(logits, classes, 0.99).item() == pytest.approx((easy + 2 * hard) / 3)
    ignored = torch.full_like(classes, IGNORED)
    assert pixel_loss(logits, ignored, 1.0).item() == pixel_loss(logits, ignored, 0.5).item() == 0


def test_pixels_outside_a_view_count_nothing() -> None:
    torch.manual_seed(0)
    network = DeepLab(encoder(), CLASSES, SMALL).eval()
    batch = dense_batch((2, 3), ((96, 128), (128, 100)))
    logits = network.logits(batch.images)
    inside = torch.cat([logits[0, :, 3:96].flatten(1), logits[1, :, 3:, :100].flatten(1)], dim=1)
    segmentations: list[Any] = [each.segmentation for each in batch.targets]
    classes = np.concatenate([each[3:].ravel() for each in segmentations])
    expected = functional.cross_entropy(inside.T, torch.from_numpy(classes).long())
    torch.testing.assert_close(network.losses(batch)["loss_sem_seg"], expected)


def test_every_parameter_is_trained_also_with_one_image_per_process() -> None:
    torch.manual_seed(0)
    network = DeepLab(encoder(), CLASSES, replace(SMALL, hard_pixels=0.2)).train()
    network(dense_batch((2,), ((96, 128),)), 0)[0].backward()
    assert not [name for name, value in network.named_parameters() if value.grad is None]


def test_predictions_are_in_original_pixels() -> None:
    torch.manual_seed(0)
    network: Any = DeepLab(encoder(), CLASSES, SMALL).eval()
    nn.init.normal_(network.predictor.weight)
    network.predictor.bias.data = -network.logits(dense_batch().images).mean((0, 2, 3)).detach()
    same = network.predict(dense_batch())
    logits = network.logits(dense_batch().images)
    for found, own, (height, width) in zip(same, logits, dense_batch().sizes, strict=True):
        assert found.segmentation.dtype == np.uint8
        assert len(np.unique(found.segmentation)) > 1
        assert np.array_equal(found.segmentation, own[:, :height, :width].argmax(0).numpy())
    doubled = network.predict(dense_batch(double=True))[1].segmentation
    assert doubled.shape == (192, 256)
    assert (doubled[1::2, 1::2] == same[1].segmentation).mean() > 0.97


def test_learns_two_images() -> None:
    """In some steps their loss falls by half."""
    torch.manual_seed(0)
    network = DeepLab(encoder(), CLASSES, SMALL).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for step in range(12):
        loss, _ = network(dense_batch((2, 3), ((128, 128), (128, 128))), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
