"""torchvision's ResNets at any width. Imported when one is built: torchvision is slow to import."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

_LAYERS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], list[int]]] = {
    18: (BasicBlock, [2, 2, 2, 2]),
    50: (Bottleneck, [3, 4, 6, 3]),
    101: (Bottleneck, [3, 4, 23, 3]),
}


class WideResNet(ResNet):
    """torchvision's ResNet without its classifier, every layer ``width`` times as wide."""

    def __init__(
        self, depth: int, width: float, stem: Literal["imagenet", "cifar"], zero_init_residual: bool
    ) -> None:
        block, layers = _LAYERS[depth]
        self._width = width
        super().__init__(block, layers)
        stem_channels = scaled(64, width)
        if stem == "cifar":
            self.conv1 = nn.Conv2d(3, stem_channels, 3, padding=1, bias=False)
            self.maxpool = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(3, stem_channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem_channels)
        del self.avgpool, self.fc
        initialize(self, zero_init_residual)

    def _make_layer(self, block: Any, planes: int, *more: Any, **options: Any) -> nn.Sequential:
        if planes == 64:  # the first stage: torchvision has just set the channels of a stem of its own width
            self.inplanes = scaled(64, self._width)
        return super()._make_layer(block, scaled(planes, self._width), *more, **options)


class DividedResNet50(ResNet):
    """torchvision's ResNet-50, each stage at 1 / ``divisor`` of its width behind a stem of 64 channels."""

    def __init__(self, divisor: int, in_channels: int, *, dilated: bool) -> None:
        self._divisor = divisor
        super().__init__(*_LAYERS[50], replace_stride_with_dilation=[False, False, dilated])
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        del self.avgpool, self.fc
        initialize(self, zero_init_residual=False)

    def _make_layer(self, block: Any, planes: int, *more: Any, **options: Any) -> nn.Sequential:
        return super()._make_layer(block, planes // self._divisor, *more, **options)


class NarrowBlock(BasicBlock):
    """torchvision's basic block with half the channels between its convolutions."""

    def __init__(self, in_channels: int, channels: int) -> None:
        shortcut = None
        if in_channels != channels:
            shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
            )
        super().__init__(in_channels, channels, downsample=shortcut)
        middle = max(1, channels // 2)
        self.conv1 = nn.Conv2d(in_channels, middle, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, channels, 3, padding=1, bias=False)


def initialize(module: nn.Module, zero_init_residual: bool) -> None:
    """torchvision's: He et al. (2015) over a convolution's outputs; batch norms start at 1 and 0 anyway."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        elif zero_init_residual and isinstance(part, BasicBlock):
            nn.init.zeros_(part.bn2.weight)
        elif zero_init_residual and isinstance(part, Bottleneck):
            nn.init.zeros_(part.bn3.weight)


def scaled(channels: int, width: float) -> int:
    """A number of channels ``width`` times as large, at least 1."""
    return max(1, round(channels * width))
