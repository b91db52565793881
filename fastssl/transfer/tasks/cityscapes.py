"""Cityscapes semantic segmentation by DeepLab v3, as Huang et al. (2022) measure it.

Their paper has stride 8 and 40,000 steps; their code has stride 16, rates 6 12 18, hard pixels, 90,000 steps:
``--stride 16 --rates 6 12 18 --hard-pixels 0.2 --steps 90000``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from fastssl.models.backbone import Backbone
from fastssl.transfer.networks.deeplab import DeepLab, DeepLabSettings
from fastssl.transfer.scores.mean_iou import MeanIou
from fastssl.transfer.task import Length
from fastssl.transfer.tasks.dense_task import DenseTask
from pipelines.command.ranges import Count, Counts, Positive, Share
from pipelines.dense.view import ResizedView
from pipelines.sources import Source
from pipelines.targets import TargetKind
from pipelines.views import ViewSpec


@dataclass(frozen=True, kw_only=True)
class CityscapesDeepLab(DenseTask):
    """Cityscapes: DeepLab v3, 40,000 steps of crops of 512 x 1024 pixels, measured on whole images."""

    needs: ClassVar[frozenset[TargetKind]] = frozenset({"segmentation"})
    leading: ClassVar[str] = "mIoU"
    least_classes: ClassVar[int] = 2
    published_steps: ClassVar[int] = 40_000
    paper: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "MoCo v2": {"mIoU": 0.774},
        "MoCo v2+": {"mIoU": 0.776},
        "BYOL, LARS": {"mIoU": 0.764},
    }

    learning_rate: Positive = 0.01
    """Peak of the learning rate, at this batch size; it falls to 0 by a power of .9."""
    short_sides: Counts = tuple(range(512, 2049, 256))
    """Short side of a training image before its crop, pixels, one of these by chance."""
    test_short_side: Count = 1024
    """Short side of a test image."""
    longest: Count = 4096
    """Longest side of an image, whatever its short side would be."""
    crop: tuple[Count, Count] = (512, 1024)
    """Height and width of the crop of a training image."""
    stride: Literal[8, 16] = 8
    """Pixels of the image between neighbors on the encoder's last map."""
    rates: Counts = (12, 24, 36)
    """Dilations of the pyramid's branches."""
    hard_pixels: Share = 1.0
    """Share of the pixels, those of the largest loss, that is learned from."""

    def train_view(self, view: ViewSpec) -> ResizedView:
        """See ``Task.train_view``."""
        return dataclasses.replace(super().train_view(view), crop=self.crop)

    def class_names(self, source: Source) -> tuple[str, ...]:
        """Classes of pixels."""
        return source.index.segmentation_names

    def rate(self, step: int, length: Length) -> float:
        """A warm-up, on a rate that falls to 0."""
        return self.warmed_up(step) * float((1 - step / length.steps) ** 0.9)

    def network(self, encoder: Backbone, class_names: Sequence[str]) -> DeepLab:
        """See ``Task.network``."""
        settings = DeepLabSettings(
            stride=self.stride,
            rates=self.rates,
            hard_pixels=self.hard_pixels,
            frozen_norms=self.frozen_norms,
        )
        chosen = settings.small() if self.scale == "small" else settings
        return DeepLab(self.prepared(encoder), len(class_names), chosen)

    def evaluator(self, class_names: Sequence[str]) -> MeanIou:
        """Mean IoU over the classes."""
        return MeanIou(class_names)

    def small(self) -> Self:
        """See ``Task.small``."""
        return dataclasses.replace(super().small(), crop=(32, 32))
