"""DeepLab v3 (Chen et al., Rethinking atrous convolution, 2017): a class for each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.segmentation.deeplabv3 import ASPP

from fastssl.models import Backbone
from fastssl.transfer.network import Prediction, TransferNetwork
from fastssl.transfer.networks.encoder_copy import channels, resnet_copy
from pipelines.dense.dense_batch import DenseBatch
from pipelines.targets import IGNORED


@dataclass(frozen=True, kw_only=True)
class DeepLabSettings:
    """Settings of a DeepLab v3; the defaults are those of the paper that gives Cityscapes at stride 8."""

    stride: Literal[8, 16] = 8
    """Pixels of the image between neighbors on the last map: 8 with rates 12 24 36, 16 with 6 12 18."""
    rates: tuple[int, ...] = (12, 24, 36)
    """Dilations of the pyramid's branches."""
    multigrid: tuple[int, ...] = (1, 2, 4)
    """Factors of the dilations of the last stage's blocks."""
    channels: int = 256
    """Channels of the pyramid."""
    hard_pixels: float = 1.0
    """Share of the pixels, those of the largest loss, that is learned from; 1: all that have a class."""
    frozen_norms: bool = False
    """The encoder's batch norms keep their statistics, weights and biases."""

    def small(self) -> DeepLabSettings:
        """Those of images of 128 pixels, for minutes on a CPU."""
        return replace(self, rates=tuple(max(1, rate // 6) for rate in self.rates), channels=64)


class DeepLab(TransferNetwork):
    """Encoder with dilated last stages, an atrous pyramid, and a class for each pixel.

    Args:
        encoder: any ResNet; a copy of it is trained.
        classes: K, classes of pixels.
        settings: of the network.

    Raises:
        UserError: the encoder is no ResNet.
    """

    def __init__(self, encoder: Backbone, classes: int, settings: DeepLabSettings | None = None) -> None:
        super().__init__()
        self.settings = DeepLabSettings() if settings is None else settings
        self.encoder = resnet_copy(encoder, "DeepLab", frozen_norms=self.settings.frozen_norms)
        if self.settings.stride == 8:
            dilate(self.encoder.layer3, [2] * len(self.encoder.layer3))
        last = 32 // self.settings.stride
        dilate(self.encoder.layer4, [last * factor for factor in self.settings.multigrid])
        width = self.settings.channels
        self.pyramid = AtrousPyramid(channels(self.encoder)[-1], self.settings.rates, width)
        self.predictor = nn.Conv2d(width, classes, 1)
        nn.init.normal_(self.predictor.weight, std=0.001)
        assert self.predictor.bias is not None
        nn.init.zeros_(self.predictor.bias)

    def logits(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] to logits per pixel, float32 [B, K, H, W]: the map's, bilinear."""
        coarse = self.predictor(self.pyramid(self.encoder.stages(images)[-1])).float()
        return functional.interpolate(coarse, size=images.shape[2:], mode="bilinear", align_corners=False)

    def losses(self, batch: DenseBatch) -> dict[str, Tensor]:
        """Cross entropy over the pixels that have a class, or over the hardest."""
        logits = self.logits(batch.images)
        return {"loss_sem_seg": pixel_loss(logits, _classes(batch), self.settings.hard_pixels)}

    @torch.no_grad()
    def predict(self, batch: DenseBatch) -> list[Prediction]:
        """The likeliest class of each pixel of the original images: of logits resized, bilinear."""
        found = []
        for logits, size, original in zip(
            self.logits(batch.images), batch.sizes.tolist(), batch.original_sizes.tolist(), strict=True
        ):
            own = logits[None, :, : size[0], : size[1]]
            if size != original:
                own = functional.interpolate(own, size=original, mode="bilinear", align_corners=False)
            found.append(Prediction(segmentation=own[0].argmax(0).to(torch.uint8).cpu().numpy()))
        return found


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


class AtrousPyramid(ASPP):
    """torchvision's pyramid with detectron2's branch for the whole image: a bias in place of a batch norm.

    So it works with one image per process, whose mean is one value per channel.

    Args:
        in_channels: channels of the map.
        rates: dilation of each 3x3 branch.
        channels: channels of each branch and of the result.
    """

    def __init__(self, in_channels: int, rates: Sequence[int], channels: int) -> None:
        super().__init__(in_channels, rates, channels)
        self.convs[-1] = _ImagePooling(in_channels, channels)
        del self.project[3]  # its dropout
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight, a=1)


class _ImagePooling(nn.Module):
    """Mean over the map, 1x1 convolution, ReLU, spread over the map again."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 1)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H, W]."""
        pooled = functional.relu(self.conv(x.mean((2, 3), keepdim=True)))
        return pooled.expand(-1, -1, *x.shape[2:])


def pixel_loss(logits: Tensor, classes: Tensor, hard_pixels: float) -> Tensor:
    """Cross entropy of pixels, 0-dim.

    Args:
        logits: [B, K, H, W].
        classes: int64 [B, H, W]; pixels of class IGNORED count nothing.
        hard_pixels: below 1, the mean is over this share of all pixels, those of the largest loss, ignored
            ones among them with a loss of 0 (detectron2's hard pixel mining).
    """
    losses = functional.cross_entropy(logits, classes, ignore_index=IGNORED, reduction="none").flatten()
    if hard_pixels < 1:
        return losses.topk(max(1, int(hard_pixels * losses.numel()))).values.mean()
    return losses.sum() / (classes != IGNORED).sum().clamp(min=1)


def _classes(batch: DenseBatch) -> Tensor:
    """Classes of the padded images' pixels, int64 [B, H, W]; of padding: IGNORED."""
    height, width = batch.images.shape[2:]
    found = np.full((len(batch.targets), height, width), IGNORED, dtype=np.int64)
    for image, targets in enumerate(batch.targets):
        assert targets.segmentation is not None
        found[image, : targets.height, : targets.width] = targets.segmentation
    return torch.from_numpy(found).to(batch.images.device)
