"""Depth of each pixel of small images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastssl.models.backbone import Backbone
from fastssl.transfer.networks.pixel_network import FARTHEST, PixelDepth
from fastssl.transfer.prediction import Prediction
from fastssl.transfer.scores.depth_error import DepthError
from fastssl.transfer.tasks.few_labels import FewLabels
from pipelines.command.ranges import Count
from pipelines.ops import Cutout, Shift
from pipelines.sources import Source
from pipelines.targets import TargetKind, Targets
from pipelines.views import ViewSpec


class NearDepthError(DepthError):
    """Errors of depths up to ``FARTHEST``; all that is farther is as far."""

    def add(self, prediction: Prediction, targets: Targets) -> None:
        """Take one image in."""
        if targets.depth is not None:
            targets = dataclasses.replace(targets, depth=np.minimum(targets.depth, np.float32(FARTHEST)))
        super().add(prediction, targets)


@dataclass(frozen=True, kw_only=True)
class Depth(FewLabels):
    """Depth of each pixel by its absolute error (Newell and Deng, 2020)."""

    needs: ClassVar[frozenset[TargetKind]] = frozenset({"depth"})
    leading: ClassVar[str] = "RMSE"
    lower_is_better: ClassVar[bool] = True
    least_classes: ClassVar[int] = 0
    largest_epoch: ClassVar[int] = 10_000

    batch_size: Count = 64
    """Images per step, over all processes."""

    def augmented(self, view: ViewSpec) -> ViewSpec:
        """The paper's augmentations without shift and Cutout."""
        return dataclasses.replace(view, shift=Shift(), cutout=Cutout())

    def class_names(self, source: Source) -> tuple[str, ...]:
        """None."""
        return ()

    def network(self, encoder: Backbone, class_names: Sequence[str]) -> PixelDepth:
        """A linear layer on each pixel of the last map."""
        return PixelDepth(encoder, 1, frozen=self.mode == "linear")

    def evaluator(self, class_names: Sequence[str]) -> NearDepthError:
        """Errors in the pixels of the images."""
        return NearDepthError()
