"""Stages of a ResNet at the resolution of the one before: dilation in place of strides."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def dilate(stage: nn.Sequential, dilations: Sequence[int]) -> None:
    """Let all convolutions of a stage step by one pixel, and dilate the 3x3 ones; weights are kept.

    Args:
        stage: of a ResNet; it is changed.
        dilations: per block; a longer list is cut. All 3x3 convolutions of a block have its dilation, as
            in detectron2's DeepLab; torchvision gives the first block of a stage that of the stage before.
    """
    for block, dilation in zip(stage, dilations, strict=False):
        for layer in block.modules():
            if isinstance(layer, nn.Conv2d):
                layer.stride = (1, 1)
                if layer.kernel_size == (3, 3):
                    layer.dilation = layer.padding = (dilation, dilation)
