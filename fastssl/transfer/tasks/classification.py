"""Classification of images that have one class each, and pose of their objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fastssl.models.backbone import Backbone
from fastssl.recipes.augmentations import SCENES_LAB
from fastssl.transfer.networks.encoder_with_head import ImageClassifier
from fastssl.transfer.scores.top1 import Top1
from fastssl.transfer.tasks.few_labels import FewLabels
from pipelines.command.errors import UserError
from pipelines.ops import Flip
from pipelines.sources import Source
from pipelines.sources.scenes.arrangement import POSES
from pipelines.views import ViewSpec


@dataclass(frozen=True, kw_only=True)
class Classification(FewLabels):
    """Class of each image (Newell and Deng, 2020); their ResNet-50 has a batch of 384."""

    needs_labels: ClassVar[bool] = True
    leading: ClassVar[str] = "top1"
    least_classes: ClassVar[int] = 2
    largest_epoch: ClassVar[int] = 50_000

    def network(self, encoder: Backbone, class_names: Sequence[str]) -> ImageClassifier:
        """A linear classifier on the features."""
        return ImageClassifier(encoder, len(class_names), frozen=self.mode == "linear")

    def evaluator(self, class_names: Sequence[str]) -> Top1:
        """Top-1 accuracy."""
        return Top1(class_names)


@dataclass(frozen=True, kw_only=True)
class Pose(Classification):
    """Pose of the object of each image, in five bins (Newell and Deng, 2020).

    Views are not mirrored: a mirrored object has another pose.
    """

    augmentations: ClassVar[ViewSpec] = dataclasses.replace(SCENES_LAB, flip=Flip())

    def training_images(self, source: Source, where: str) -> Source:
        """See ``FewLabels.training_images``.

        Raises:
            UserError: the images are not labeled by pose.
        """
        if source.index.class_names != POSES:
            raise UserError(
                f"pose needs images labeled by pose, and {where} has other classes: give "
                "scenes:single-1111,label=pose or another combination of a free viewpoint"
            )
        return super().training_images(source, where)
