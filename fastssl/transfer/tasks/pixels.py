"""Segmentation and depth of small images, by a number or a few for each pixel."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fastssl.models.backbone import Backbone
from fastssl.recipes.augmentations import SCENES_LAB
from fastssl.transfer.networks.pixel_network import FARTHEST, PixelClassifier, PixelDepth
from fastssl.transfer.scores.depth_error import DepthError
from fastssl.transfer.scores.mean_iou import MeanIou
from fastssl.transfer.tasks.few_labels import FewLabels
from pipelines.command.ranges import Count
from pipelines.ops import Cutout, Shift
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
    augmentations: ClassVar[ViewSpec] = dataclasses.replace(SCENES_LAB, cutout=Cutout())

    batch_size: Count = 64
    """Images per step, over all processes."""

    def class_names(self, source: Source) -> tuple[str, ...]:
        """Classes of pixels."""
        return source.index.segmentation_names

    def network(self, encoder: Backbone, class_names: Sequence[str]) -> PixelClassifier:
        """A linear classifier on each pixel of the last map."""
        return PixelClassifier(encoder, len(class_names), frozen=self.mode == "linear")

    def evaluator(self, class_names: Sequence[str]) -> MeanIou:
        """Mean IoU over the classes, in the pixels of the images."""
        return MeanIou(class_names)


@dataclass(frozen=True, kw_only=True)
class Depth(FewLabels):
    """Depth of each pixel by its absolute error (Newell and Deng, 2020)."""

    needs: ClassVar[frozenset[TargetKind]] = frozenset({"depth"})
    leading: ClassVar[str] = "RMSE"
    lower_is_better: ClassVar[bool] = True
    least_classes: ClassVar[int] = 0
    largest_epoch: ClassVar[int] = 10_000
    augmentations: ClassVar[ViewSpec] = dataclasses.replace(SCENES_LAB, shift=Shift(), cutout=Cutout())

    batch_size: Count = 64
    """Images per step, over all processes."""

    def class_names(self, source: Source) -> tuple[str, ...]:
        """None."""
        return ()

    def network(self, encoder: Backbone, class_names: Sequence[str]) -> PixelDepth:
        """A linear layer on each pixel of the last map."""
        return PixelDepth(encoder, 1, frozen=self.mode == "linear")

    def evaluator(self, class_names: Sequence[str]) -> DepthError:
        """Errors in the pixels of the images."""
        return DepthError(FARTHEST)
