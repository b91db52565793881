"""Atrous spatial pyramid pooling (Chen et al., Rethinking atrous convolution, 2017)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.segmentation.deeplabv3 import ASPP


class AtrousPyramid(ASPP):
    """torchvision's pyramid with detectron2's branch for the whole image: a bias in place of a batch norm.

    So it works with one image per process, whose mean is one value per channel.

    Args:
        in_channels: channels of the map.
        rates: dilation of each 3x3 branch.
        channels: channels of each branch and of the result.
        dropout: share of the result that is dropped in training.
    """

    def __init__(self, in_channels: int, rates: Sequence[int], channels: int, dropout: float) -> None:
        super().__init__(in_channels, rates, channels)
        self.convs[-1] = _ImagePooling(in_channels, channels)
        self.project[3] = nn.Dropout(dropout)
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
