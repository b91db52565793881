"""Classification of images that have one class each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fastssl.models.backbone import Backbone
from fastssl.transfer.networks.image_classifier import ImageClassifier
from fastssl.transfer.scores.top1 import Top1
from fastssl.transfer.tasks.few_labels import FewLabels
from pipelines.views import ViewSpec


@dataclass(frozen=True, kw_only=True)
class Classification(FewLabels):
    """Class of each image (Newell and Deng, 2020); their ResNet-50 has a batch of 384."""

    needs_labels: ClassVar[bool] = True
    leading: ClassVar[str] = "top1"
    least_classes: ClassVar[int] = 2
    largest_epoch: ClassVar[int] = 50_000

    def augmented(self, view: ViewSpec) -> ViewSpec:
        """All of the paper's augmentations."""
        return view

    def network(self, encoder: Backbone, class_names: Sequence[str]) -> ImageClassifier:
        """A linear classifier on the features."""
        return ImageClassifier(encoder, len(class_names), frozen=self.mode == "linear")

    def evaluator(self, class_names: Sequence[str]) -> Top1:
        """Top-1 accuracy."""
        return Top1(class_names)
