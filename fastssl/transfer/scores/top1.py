"""Accuracy of image classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from fastssl.transfer.network import Prediction
from fastssl.transfer.task import Evaluator
from pipelines.targets import Targets


class Top1(Evaluator):
    """``top1``, the share of images whose predicted class is theirs."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self._class_names = tuple(class_names)
        self._right, self._images = np.zeros((2, len(self._class_names)), np.int64)

    def add(self, prediction: Prediction, targets: Targets) -> None:
        """Take one image in.

        Raises:
            ValueError: prediction or targets have no label.
        """
        if prediction.label is None or targets.label is None:
            raise ValueError("no label to measure")
        self._images[targets.label] += 1
        self._right[targets.label] += prediction.label == targets.label

    def merge(self, other: Self) -> None:
        """Take in the images of another evaluator."""
        self._images += other._images
        self._right += other._right

    def metrics(self) -> dict[str, float]:
        """``top1``, in [0, 1]; nothing without an image."""
        images = int(self._images.sum())
        return {"top1": int(self._right.sum()) / images} if images else {}

    def per_class(self) -> dict[str, dict[str, float]]:
        """``top1`` by class name, of the classes that occur."""
        return {
            name: {"top1": int(self._right[label]) / int(self._images[label])}
            for label, name in enumerate(self._class_names)
            if self._images[label]
        }
