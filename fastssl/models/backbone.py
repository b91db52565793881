"""What an encoder is, and how it is chosen; the networks are in ``fastssl.models.resnets``.

A backbone turns views into maps, stage by stage, and the mean of its last map over the pixels into features.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from pipelines.command.errors import UserError

BackboneName = Literal["resnet9", "resnet18", "resnet50", "resnet101"]


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """Which encoder."""

    name: BackboneName = "resnet50"
    width: float = 1.0  # multiplies the channels of every layer, the stem's and the features' too
    stem: Literal["imagenet", "cifar"] = "imagenet"  # cifar: 3x3, stride 1, no pooling; resnet9: always so
    zero_init_residual: bool = False  # residual branches start at zero (Goyal et al., 2017)

    def __post_init__(self) -> None:
        if self.name not in get_args(BackboneName):
            raise UserError(f"unknown backbone {self.name}: one of {', '.join(get_args(BackboneName))}")
        if self.stem not in ("imagenet", "cifar"):
            raise UserError(f"unknown backbone stem {self.stem}: imagenet or cifar")
        if not 1 <= self.width * 64 < math.inf:
            raise UserError(f"backbone width must leave a channel of 64, so at least 1/64, not {self.width}")


class Backbone(nn.Module, ABC):
    """Views to features.

    Attributes:
        feature_dim: D, the channels of the last stage.
    """

    feature_dim: int

    @abstractmethod
    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Views [B, 3, S, S] to the map of each stage, [B, C_i, H_i, W_i], first to last."""

    def forward(self, x: Tensor) -> Tensor:
        """Views [B, 3, S, S] to features [B, D]: the mean of the last stage's map over its pixels."""
        return self.stages(x)[-1].mean((2, 3))


def build_backbone(config: BackboneConfig) -> Backbone:
    """A backbone with fresh weights from torch's global generator."""
    # here, as torchvision is slow to import, and --list and mistakes need none of it
    from fastssl.models.resnets import ResNet9, TorchvisionResNet

    return ResNet9(config) if config.name == "resnet9" else TorchvisionResNet(config)
