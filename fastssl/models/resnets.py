"""The encoders' networks: torchvision's ResNets and a ResNet-9, at any width.

The ResNets' parameters carry torchvision's names, so weights move to and from other tools as they are.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from fastssl.models.backbone import Backbone, BackboneConfig

_LAYERS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], list[int]]] = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
}


def _initialise(module: nn.Module, zero_init_residual: bool) -> None:
    """torchvision's: He et al. (2015) over a convolution's outputs; batch norms start at 1 and 0 anyway."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        elif zero_init_residual and isinstance(part, BasicBlock):
            nn.init.zeros_(part.bn2.weight)
        elif zero_init_residual and isinstance(part, Bottleneck):
            nn.init.zeros_(part.bn3.weight)


class TorchvisionResNet(Backbone, ResNet):
    """torchvision's ResNet without its classifier, every layer ``width`` times as wide."""

    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d
    relu: nn.ReLU
    maxpool: nn.Module
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, config: BackboneConfig) -> None:
        block, layers = _LAYERS[config.name]
        self._width = config.width
        super().__init__(block, layers)
        stem_channels = _channels(64, config.width)
        if config.stem == "cifar":
            self.conv1 = nn.Conv2d(3, stem_channels, 3, padding=1, bias=False)
            self.maxpool = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(3, stem_channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem_channels)
        del self.avgpool, self.fc
        self.feature_dim = self.inplanes
        _initialise(self, config.zero_init_residual)

    def _make_layer(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        planes: int,
        blocks: int,
        stride: int = 1,
        dilate: bool = False,
    ) -> nn.Sequential:
        if planes == 64:  # the first stage: torchvision has just set the channels of a stem of its own width
            self.inplanes = _channels(64, self._width)
        return super()._make_layer(block, _channels(planes, self._width), blocks, stride, dilate)

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Four maps, of 1/4, 1/8, 1/16 and 1/32 of the side (cifar: 1, 1/2, 1/4, 1/8)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return tuple(maps)


class _ConvPool(nn.Sequential):
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

    Its last stage is a linear layer over the channels of each pixel; the features are that map's mean.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        c64, c128, c256, c512 = (_channels(c, config.width) for c in (64, 128, 256, 512))
        self.conv1 = nn.Conv2d(3, c64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c64)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(_ConvPool(c64, c128), BasicBlock(c128, c128))
        self.layer2 = _ConvPool(c128, c256)
        self.layer3 = nn.Sequential(_ConvPool(c256, c512), BasicBlock(c512, c512))
        self.linear = nn.Linear(c512, c256)
        self.feature_dim = c256
        _initialise(self, config.zero_init_residual)

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Five maps, of 1, 1/2, 1/4, 1/8 and 1/8 of the side."""
        stem = self.relu(self.bn1(self.conv1(x)))
        first = self.layer1(stem)
        second = self.layer2(first)
        third = self.layer3(second)
        last = self.linear(third.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return stem, first, second, third, last


def _channels(count: int, width: float) -> int:
    return max(1, round(count * width))
