"""The interface of encoders: views to the maps of stages, and to features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from fastssl.component import Component, ComponentConfig
from pipelines.command.ranges import check_ranges


class Backbone(Component, nn.Module, ABC):
    """Base of the encoders, made by ``BACKBONE(config)`` with fresh weights from torch's global generator.

    Attributes:
        feature_dim: D, the number of features.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(ComponentConfig):
        """Settings of an encoder."""

        def __post_init__(self) -> None:
            check_ranges(self, "--backbone.")

        @property
        def label(self) -> str:
            """Its name in tables, such as ``resnet50`` or ``resnet9 0.25x``."""
            return self.kind

        def warnings(self, size: int) -> Iterator[str]:
            """Costs that views of ``size`` pixels hardly mean to have, a line each."""
            return iter(())

        def small(self) -> Backbone.Config:
            """One for minutes on a CPU with views of 32 pixels; it may be of another kind."""
            return self

    feature_dim: int
    inner_maps: tuple[tuple[str, int], tuple[str, int]] | None = None
    """Two submodules, each by name with the channels of its map, a finer and a coarser one: AMDIM predicts
    them from the features (``fastssl.methods.amdim``). None: it offers none."""

    def check_size(self, size: int) -> None:
        """Check that the encoder takes views of ``size`` pixels.

        Raises:
            UserError: it does not.
        """

    @abstractmethod
    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Views [B, 3, S, S] to the map of each stage, [B, C_i, H_i, W_i], first to last."""

    def forward(self, x: Tensor) -> Tensor:
        """Views [B, 3, S, S] to features [B, D]: here the mean of the last stage's map over its pixels."""
        return self.stages(x)[-1].mean((2, 3))


def build_backbone(config: Backbone.Config) -> Backbone:
    """A backbone with fresh weights from torch's global generator."""
    backbone: Backbone = config.component(config)
    return backbone
