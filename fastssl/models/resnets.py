"""ResNets: torchvision's 18, 50 and 101 layers, and a ResNet-9, at any width.

Parameters of ``ResNet`` carry torchvision's names, so weights move to and from other tools as they are.
torchvision is slow to import: configs, --list and mistakes need none of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import tyro
from torch import Tensor, nn

from fastssl.models.backbone import Backbone
from pipelines.command.ranges import Range

_LARGE_FOR_CIFAR_STEM = 64  # pixels


_WIDTH = Range(at_least=1 / 64, at_most=64)  # from one channel of 64 to a ResNet-50 of 90 billion weights
Width = Annotated[float, _WIDTH, tyro.conf.arg(help_behavior_hint=_WIDTH.shown)]


def _label(name: str, width: float) -> str:
    return name if width == 1 else f"{name} {width:g}x"


class ResNet(Backbone):
    """torchvision's ResNet (He et al., 2016) without its classifier, every layer ``width`` times as wide."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Backbone.Config):
        """A ResNet."""

        depth: Literal[18, 50, 101] = 50
        """Layers."""
        width: Width = 1.0
        """Multiplies the channels of every layer, the stem's and the features' too."""
        stem: Literal["imagenet", "cifar"] = "imagenet"
        """imagenet: 7x7, stride 2, max-pooling; cifar: 3x3, stride 1, no pooling."""
        zero_init_residual: bool = False
        """Residual branches start at zero (Goyal et al., 2017)."""

        @property
        def label(self) -> str:
            """Name and width."""
            return _label(f"resnet{self.depth}", self.width)

        def warnings(self, size: int) -> Iterator[str]:
            """The stem of 32-pixel images at larger ones."""
            if self.stem == "cifar" and size >= _LARGE_FOR_CIFAR_STEM:
                yield (
                    f"the cifar stem at {size} pixels costs about 16 times as much as the other: "
                    "set --backbone.stem imagenet"
                )

        def small(self) -> ResNet9.Config:
            """A ResNet-9 of a quarter of the width."""
            width = max(1 / 64, 0.25 * self.width)
            return ResNet9.Config(width=width, zero_init_residual=self.zero_init_residual)

    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d
    relu: nn.ReLU
    maxpool: nn.Module
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, config: Config) -> None:
        from fastssl.models.wide_resnet import WideResNet

        super().__init__()
        network = WideResNet(config.depth, config.width, config.stem, config.zero_init_residual)
        for name, part in network.named_children():
            self.add_module(name, part)
        self.feature_dim = network.inplanes

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Four maps, of 1/4, 1/8, 1/16 and 1/32 of the side (cifar: 1, 1/2, 1/4, 1/8)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return tuple(maps)


class ConvPool(nn.Sequential):
    """conv 3x3, max-pool to half the side, batch norm, CELU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(out_channels),
            nn.CELU(alpha=0.075, inplace=True),
        )


class ResNet9(Backbone):
    """The ResNet-9 of Newell and Deng, "How useful is self-supervised pretraining for visual tasks?" (2020).

    Its stem is a 3x3 convolution without pooling. Its last stage is a linear layer over the channels of each
    pixel; the features are that map's mean.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Backbone.Config):
        """A ResNet-9."""

        width: Width = 1.0
        """Multiplies the channels of every layer, the features' too."""
        zero_init_residual: bool = False
        """Residual branches start at zero (Goyal et al., 2017)."""

        @property
        def label(self) -> str:
            """Name and width."""
            return _label("resnet9", self.width)

        def small(self) -> ResNet9.Config:
            """The same at a quarter of the width."""
            return replace(self, width=max(1 / 64, 0.25 * self.width))

    def __init__(self, config: Config) -> None:
        from torchvision.models.resnet import BasicBlock

        from fastssl.models.wide_resnet import initialize, scaled

        super().__init__()
        c64, c128, c256, c512 = (scaled(c, config.width) for c in (64, 128, 256, 512))
        self.conv1 = nn.Conv2d(3, c64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c64)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(ConvPool(c64, c128), BasicBlock(c128, c128))
        self.layer2 = ConvPool(c128, c256)
        self.layer3 = nn.Sequential(ConvPool(c256, c512), BasicBlock(c512, c512))
        self.linear = nn.Linear(c512, c256)
        self.feature_dim = c256
        self.inner_maps = (("layer2", c256), ("layer3.0", c512))
        initialize(self, config.zero_init_residual)

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Five maps, of 1, 1/2, 1/4, 1/8 and 1/8 of the side."""
        stem = self.relu(self.bn1(self.conv1(x)))
        first = self.layer1(stem)
        second = self.layer2(first)
        third = self.layer3(second)
        last = self.linear(third.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return stem, first, second, third, last
