"""Semantic segmentation of small images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fastssl.models.backbone import Backbone
from fastssl.transfer.networks.pixel_network import PixelClassifier
from fastssl.transfer.scores.mean_iou import MeanIou
from fastssl.transfer.tasks.few_labels import FewLabels
from pipelines.command.ranges import Count
from pipelines.ops import Cutout
from pipelines.sources import Source
from pipelines.targets import TargetKind
from pipelines.views import ViewSpec


@dataclass(frozen=True, kw_only=True)
class Segmentation(FewLabels):
    """Class of each pixel (Newell and Deng, 2020), background among them."""

    needs: ClassVar[frozenset[TargetKind]] = frozenset({"segmentation"})
    leading: ClassVar[str] = "mIoU"
    least_classes: ClassVar[int] = 2
    largest_epoch: ClassVar[int] = 10_000

    batch_size: Count = 64
    """Images per step, over all processes."""

    def augmented(self, view: ViewSpec) -> ViewSpec:
        """The paper's augmentations without Cutout."""
        return dataclasses.replace(view, cutout=Cutout())

    def class_names(self, source: Source) -> tuple[str, ...]:
        """Classes of pixels."""
        return source.index.segmentation_names

    def network(self, encoder: Backbone, class_names: Sequence[str]) -> PixelClassifier:
        """A linear classifier on each pixel of the last map."""
        return PixelClassifier(encoder, len(class_names), frozen=self.mode == "linear")

    def evaluator(self, class_names: Sequence[str]) -> MeanIou:
        """Mean IoU over the classes, in the pixels of the images."""
        return MeanIou(class_names)
