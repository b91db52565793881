"""The encoders of AMDIM: convolutions without padding, so that each place of a map sees a patch of its own.

Bachman, Hjelm, Buchwalter, "Learning representations by maximizing mutual information across views" (2019),
by its authors' public code, without batch norms in hidden layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Self

from torch import Tensor, nn
from torch.nn import functional

from fastssl.models.backbone import Backbone
from pipelines.command.errors import UserError
from pipelines.command.ranges import Count


class AMDIMEncoder(Backbone):
    """Blocks of residual units without padding, down to maps of 7x7, 5x5, 3x3 and one pixel."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Backbone.Config):
        """AMDIM's encoder. The defaults are those of Newell and Deng's (2020) code."""

        size: Literal[32, 64, 128] = 64
        """Side of the views, pixels; it decides the first layers."""
        channels: Count = 64
        """Channels of the first layer (the code's ndf), which blocks double."""
        feature_dim: Count = 512
        """D, of the features (n_rkhs); at least the last block's channels: 8 times the first layer's, 4 times
        at size 32."""
        depth: Count = 3
        """Residual units of a block (n_depth)."""

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.feature_dim < self.last_channels:
                raise UserError(
                    f"--backbone.feature-dim needs at least {self.last_channels}, the last block's channels, "
                    f"not {self.feature_dim}: raise it or lower --backbone.channels"
                )

        @property
        def last_channels(self) -> int:
            """Channels of the last block."""
            return self.channels * (4 if self.size == 32 else 8)

        @property
        def label(self) -> str:
            """Its name with the code's three numbers."""
            return f"amdim{self.size} {self.channels}-{self.feature_dim}-{self.depth}"

        def small(self) -> Self:
            """A narrow one of two units a block for views of 32 pixels."""
            return replace(self, size=32, channels=16, feature_dim=64, depth=2)

    def __init__(self, config: Config) -> None:
        super().__init__()
        first, channels, depth = config.channels, config.last_channels, config.depth
        self.stem = nn.Sequential(*_STEMS[config.size](first))
        shapes = {32: [(4, 2), (2, 2)]}.get(config.size, [(4, 2), (4, 2), (2, 2)])
        blocks, width = [], first
        for kernel, stride in shapes:
            blocks.append(_block(width, 2 * width, kernel, stride, depth))
            width *= 2
        self.seven = nn.Sequential(*blocks)
        self.five = _block(channels, channels, 3, 1, depth)
        self.three = _block(channels, channels, 3, 1, depth)
        self.one = nn.Sequential(
            ResidualUnit(channels, config.feature_dim, 3, 1), nn.BatchNorm2d(config.feature_dim)
        )
        self.feature_dim = config.feature_dim
        self.inner_maps = (("seven", channels), ("five", channels))
        self._size = config.size

    def check_size(self, size: int) -> None:
        """See ``Backbone.check_size``: its own size."""
        if size != self._size:
            raise UserError(
                f"this amdimencoder takes views of {self._size} pixels, not {size}: set --size {self._size}, "
                "or --backbone.size to 32, 64 or 128"
            )

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Five maps: the stem's, and those of 7, 5, 3 and 1 pixels a side."""
        maps = []
        for part in (self.stem, self.seven, self.five, self.three, self.one):
            x = part(x)
            maps.append(x)
        return tuple(maps)


class ResidualUnit(nn.Module):
    """conv k x k, ReLU, conv 1x1 (which starts at 0), beside the mean of the same patch.

    Channels that the mean has not are 0.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, kernel, stride, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 1, bias=False)
        nn.init.zeros_(self.conv2.weight)
        self._kernel, self._stride, self._more = kernel, stride, channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the map of patches."""
        branch = self.conv2(functional.relu(self.conv1(x)))
        mean = functional.avg_pool2d(x, self._kernel, self._stride)
        return branch + functional.pad(mean, (0, 0, 0, 0, 0, self._more)).to(branch.dtype)


class LocalHead(nn.Module):
    """AMDIM's head on an inner map: a residual 1x1 network with batch norm on its output.

    The shortcut starts near the identity, the other branch at 0.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 1, bias=False)
        self.shortcut = nn.Conv2d(in_channels, channels, 1)
        self.bn = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.conv2.weight)
        if channels >= in_channels:
            nn.init.uniform_(self.shortcut.weight, -0.01, 0.01)
            nn.init.ones_(self.shortcut.weight.data[:in_channels, :, 0, 0].diagonal())

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, channels, H, W]."""
        normalized: Tensor = self.bn(self.conv2(functional.relu(self.conv1(x))) + self.shortcut(x))
        return normalized


def _block(in_channels: int, channels: int, kernel: int, stride: int, depth: int) -> nn.Sequential:
    """A residual unit of patches, and ``depth`` - 1 of single pixels."""
    first = ResidualUnit(in_channels, channels, kernel, stride)
    return nn.Sequential(first, *(ResidualUnit(channels, channels, 1, 1) for _ in range(depth - 1)))


def _convolution(in_channels: int, channels: int) -> list[nn.Module]:
    return [nn.Conv2d(in_channels, channels, 3), nn.ReLU(inplace=True)]


_STEMS: dict[int, Callable[[int], list[nn.Module]]] = {
    32: lambda first: [*_convolution(3, first), ResidualUnit(first, first, 1, 1)],
    64: lambda first: _convolution(3, first),
    128: lambda first: [
        nn.Conv2d(3, first, 5, 2, padding=2, padding_mode="reflect"),
        nn.ReLU(inplace=True),
        *_convolution(first, first),
    ],
}
