"""Pose of the object of an image, in five bins."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from fastssl.transfer.tasks.classification import Classification
from pipelines.command.errors import UserError
from pipelines.ops import Flip
from pipelines.sources import Source
from pipelines.sources.scenes.arrangement import POSES
from pipelines.views import ViewSpec


@dataclass(frozen=True, kw_only=True)
class Pose(Classification):
    """Pose of the object of each image, in five bins (Newell and Deng, 2020).

    Views are not mirrored: a mirrored object has another pose.
    """

    def augmented(self, view: ViewSpec) -> ViewSpec:
        """All of the paper's augmentations but the flip."""
        return dataclasses.replace(view, flip=Flip())

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
