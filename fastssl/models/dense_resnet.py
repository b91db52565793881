"""The ResNet-50 of Newell and Deng, "How useful is self-supervised pretraining for visual tasks?" (2020)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from fastssl.models.backbone import Backbone
from fastssl.models.resnets import ResNet9
from pipelines.command.ranges import Count


class DenseResNet(Backbone):
    """torchvision's ResNet-50 without max-pooling, and a linear layer over each pixel before the mean.

    Its maps are twice as large as usual, which small images and dense tasks need.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Backbone.Config):
        """A ResNet-50 for small images and dense tasks."""

        feature_dim: Count = 256
        """D, outputs of the linear layer: the features."""
        dilated: bool = False
        """Keep the last stage at the resolution of the one before, by dilation: for dense tasks."""

        @property
        def label(self) -> str:
            """Its name, apart from torchvision's."""
            return "resnet50 dense" + " dilated" * self.dilated

        def small(self) -> ResNet9.Config:
            """A ResNet-9 of a quarter of the width."""
            return ResNet9.Config(width=0.25)

    def __init__(self, config: Config, *, in_channels: int = 3, half: bool = False) -> None:
        """Build it.

        Args:
            config: of the whole network.
            in_channels: channels of a view.
            half: build half of the network: stages at half their widths, behind the same stem, and half the
                features.
        """
        from fastssl.models.wide_resnet import DividedResNet50

        super().__init__()
        network = DividedResNet50(2 if half else 1, in_channels, dilated=config.dilated)
        self.conv1, self.bn1, self.relu = network.conv1, network.bn1, network.relu
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4
        self.feature_dim = config.feature_dim // (2 if half else 1)
        self.inner_maps = (("layer3.4", network.inplanes // 2), ("layer4.1", network.inplanes))
        self.linear = nn.Linear(network.inplanes, self.feature_dim)

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Five maps, of 1/2, 1/4, 1/8, 1/16 (dilated: 1/8) and the same of the side."""
        x = self.relu(self.bn1(self.conv1(x)))
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return *maps, self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
