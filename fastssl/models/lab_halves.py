"""Two halves of a network for views in L*a*b*: one sees the lightness, the other the colors.

Tian, Krishnan, Isola, "Contrastive multiview coding" (2019). The halves are those of the public code of
Newell and Deng, "How useful is self-supervised pretraining for visual tasks?" (2020).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastssl.models.backbone import Backbone
from fastssl.models.dense_resnet import DenseResNet
from fastssl.models.resnets import ConvPool, ResNet9
from pipelines.command.errors import UserError


class LabHalves(Backbone):
    """One half on channel L, the other on a and b; their features at length 1, joined.

    Attributes:
        lightness, colors: the halves.
    """

    def __init__(self, config: Backbone.Config) -> None:
        """Build the halves of the network of ``config``.

        Raises:
            UserError: it is not known how to halve it.
        """
        super().__init__()
        self.lightness, self.colors = _half(config, 1), _half(config, 2)
        self.feature_dim = 2 * self.lightness.feature_dim

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """The halves' maps, their channels joined."""
        pairs = zip(self.lightness.stages(x[:, :1]), self.colors.stages(x[:, 1:]), strict=True)
        return tuple(torch.cat(pair, 1) for pair in pairs)

    def forward(self, x: Tensor) -> Tensor:
        """Views [B, 3, S, S] to features [B, D], each half's [B, D/2] at length 1."""
        halves = (self.lightness(x[:, :1]), self.colors(x[:, 1:]))
        return torch.cat([functional.normalize(half, dim=1).to(half.dtype) for half in halves], 1)


def _half(config: Backbone.Config, in_channels: int) -> Backbone:
    if isinstance(config, ResNet9.Config):
        return HalfResNet9(config, in_channels)
    if isinstance(config, DenseResNet.Config):
        return DenseResNet(config, in_channels=in_channels, half=True)
    raise UserError(f"no halves are known of backbone {config.kind}: take --backbone resnet9 or denseresnet")


class HalfResNet9(Backbone):
    """Half of a ``ResNet9``, in its parameters (3.3 of 6.7 million) and in its features."""

    def __init__(self, config: ResNet9.Config, in_channels: int) -> None:
        """Build it for views of ``in_channels`` channels; ``config`` is that of the whole network."""
        from fastssl.models.wide_resnet import NarrowBlock, initialize, scaled

        super().__init__()
        c64, c128, c512 = (scaled(channels, config.width) for channels in (64, 128, 512))
        self.conv1 = nn.Conv2d(in_channels, c64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c64)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(ConvPool(c64, c64), NarrowBlock(c64, c128))
        self.layer2 = ConvPool(c128, c128)
        self.layer3 = nn.Sequential(ConvPool(c128, c512), NarrowBlock(c512, c512))
        self.linear = nn.Linear(c512, c128)
        self.feature_dim = c128
        initialize(self, config.zero_init_residual)

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Five maps, as those of ``ResNet9``."""
        return ResNet9.stages(self, x)  # type: ignore[arg-type]  # its parts have the same names
