"""Mean intersection over union of semantic segmentation, pooled over all pixels of all images.

Cordts et al., "The Cityscapes dataset for semantic urban scene understanding" (2016), section 4.1: per class
TP / (TP + FP + FN), pixels without a class left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from fastssl.transfer.network import Prediction
from fastssl.transfer.task import Evaluator, needed
from pipelines.command.errors import UserError
from pipelines.targets import IGNORED, Targets


class MeanIou(Evaluator):
    """``mIoU``, the mean over the classes that occur in the labels, and ``pixel_accuracy``."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self._class_names = tuple(class_names)
        count = len(self._class_names)
        self._confusion = np.zeros((count, count + 1), np.int64)  # truth, prediction; last: of no class

    def add(self, prediction: Prediction, targets: Targets) -> None:
        """Take one image in.

        Raises:
            UserError: a pixel is labeled with a class that the data has no name for.
        """
        truth = needed(targets.segmentation, "segmentation").ravel().astype(np.int64)
        found = needed(prediction.segmentation, "segmentation").ravel().astype(np.int64)
        counts = truth != IGNORED
        truth, found = truth[counts], found[counts]
        count = len(self._class_names)
        if truth.size and truth.max() >= count:
            raise UserError(
                f"segmentation: a pixel is labeled {truth.max()}, and there are {count} classes: "
                f"mend the label images ({IGNORED} is for pixels without a class)"
            )
        pairs = truth * (count + 1) + np.minimum(found, count)
        self._confusion += np.bincount(pairs, minlength=self._confusion.size).reshape(count, count + 1)

    def merge(self, other: Self) -> None:
        """Take in the pixels of another evaluator."""
        self._confusion += other._confusion

    def metrics(self) -> dict[str, float]:
        """Metrics by name, in [0, 1]; none without a labeled pixel."""
        of_classes = [values["IoU"] for values in self.per_class().values()]
        if not of_classes:
            return {}
        right = int(np.trace(self._confusion))
        return {"mIoU": float(np.mean(of_classes)), "pixel_accuracy": right / int(self._confusion.sum())}

    def per_class(self) -> dict[str, dict[str, float]]:
        """``IoU`` by class name, of the classes that occur in the labels."""
        right = np.diag(self._confusion)
        labeled = self._confusion.sum(1)
        found = self._confusion[:, :-1].sum(0)
        return {
            name: {"IoU": int(right[label]) / int(labeled[label] + found[label] - right[label])}
            for label, name in enumerate(self._class_names)
            if labeled[label]
        }
