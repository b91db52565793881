"""Base of the detection tasks: Faster and Mask R-CNN on res4 (C4) or on a feature pyramid (FPN)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastssl.distributed.collectives import world_size
from fastssl.models.backbone import Backbone
from fastssl.transfer.network import TransferNetwork
from fastssl.transfer.networks.detector_settings import DetectorSettings
from fastssl.transfer.networks.faster_rcnn_c4 import FasterRCNNC4
from fastssl.transfer.networks.fpn import FPNDetector, FPNSettings
from fastssl.transfer.task import Length
from fastssl.transfer.tasks.dense_task import DenseTask
from pipelines.command.errors import UserError
from pipelines.command.ranges import SharesWithinOne
from pipelines.sources import Source
from pipelines.sources.subset import Subset
from pipelines.targets import TargetKind


@dataclass(frozen=True, kw_only=True)
class Detection(DenseTask):
    """Base of the detectors; a batch of 16 images, rates and steps as in MoCo's code."""

    needs: ClassVar[frozenset[TargetKind]] = frozenset({"boxes"})
    leading: ClassVar[str] = "AP"
    pyramid: ClassVar[bool] = False
    """FPN in place of C4."""
    masks: ClassVar[bool] = False
    """Masks too."""

    drops: SharesWithinOne = (60 / 90, 80 / 90)
    """Drops of the rate to a tenth, as shares of the training."""
    head_norm: bool = True
    """Batch norms in the head: behind res5 (C4), in pyramid and heads (FPN)."""

    def training_images(self, source: Source, where: str) -> Source:
        """The images with objects, as in detectron2; all of a source whose index does not tell.

        Raises:
            UserError: there are none.
        """
        if source.index.objects is None:
            return source
        kept = np.flatnonzero(np.diff(source.index.objects.offsets))
        if not len(kept):
            raise UserError(f"no training image of {where} has an object: give images with boxes")
        return Subset(source, kept) if len(kept) < len(source.index) else source

    def rate(self, step: int, length: Length) -> float:
        """A warm-up, then a tenth at each drop."""
        drops = sum(step >= round(drop * length.steps) for drop in self.drops)
        return self.warmed_up(step) * float(0.1**drops)

    def network(self, encoder: Backbone, class_names: Sequence[str]) -> TransferNetwork:
        """See ``Task.network``.

        Raises:
            UserError: the encoder does not fit, or batch norms in groups smaller than a process's share.
        """
        share = self.batch_size // world_size()
        if 0 < self.batch_norm_group < share:
            raise UserError(
                f"--batch-norm-group {self.batch_norm_group}: images have unequal numbers of regions, "
                f"so groups are whole shares of processes: give {share} or a multiple of it, or 0 for all"
            )
        encoder, classes = self.prepared(encoder), len(class_names)
        if self.pyramid:
            pyramid = FPNSettings(masks=self.masks, frozen_norms=self.frozen_norms, norm=self.head_norm)
            return FPNDetector(encoder, classes, pyramid.small() if self.scale == "small" else pyramid)
        settings = DetectorSettings(masks=self.masks, frozen_norms=self.frozen_norms, norm=self.head_norm)
        return FasterRCNNC4(encoder, classes, settings.small() if self.scale == "small" else settings)
