"""Errors of depth maps, pooled over all pixels of all images whose depth is known."""

from __future__ import annotations

import math
from typing import Self

import numpy as np

from fastssl.transfer.network import Prediction
from fastssl.transfer.task import Evaluator, needed
from pipelines.targets import Targets

_FACTORS = {"delta_1_25": 1.25, "delta_1_1": 1.1}


class DepthError(Evaluator):
    """``L1``, ``RMSE`` in the labels' unit; shares of pixels within a factor, ``delta_1_25``, ``delta_1_1``.

    Eigen, Puhrsch, Fergus, "Depth map prediction from a single image using a multi-scale deep network",
    2014: max(found / true, true / found) < 1.25. A depth that is not above 0, or not finite, is not known.

    Args:
        farthest: labels beyond it, infinite ones too, count as this depth.
    """

    def __init__(self, farthest: float) -> None:
        self._farthest = np.float32(farthest)
        self._pixels = 0
        self._absolute = self._squared = 0.0
        self._within = dict.fromkeys(_FACTORS, 0)

    def add(self, prediction: Prediction, targets: Targets) -> None:
        """Take one image in."""
        truth = np.minimum(needed(targets.depth, "depth"), self._farthest).astype(np.float64)
        found = needed(prediction.depth, "depth").astype(np.float64)
        known = np.isfinite(truth) & (truth > 0)
        truth, found = truth[known], found[known]
        difference = np.abs(found - truth)
        self._pixels += truth.size
        self._absolute += float(difference.sum())
        self._squared += float(difference @ difference)
        for name, factor in _FACTORS.items():
            self._within[name] += int(np.count_nonzero((found < factor * truth) & (truth < factor * found)))

    def merge(self, other: Self) -> None:
        """Take in the pixels of another evaluator."""
        self._pixels += other._pixels
        self._absolute += other._absolute
        self._squared += other._squared
        for name, count in other._within.items():
            self._within[name] += count

    def metrics(self) -> dict[str, float]:
        """Metrics by name; none without a pixel of known depth."""
        if not self._pixels:
            return {}
        means = {"L1": self._absolute / self._pixels, "RMSE": math.sqrt(self._squared / self._pixels)}
        return means | {name: count / self._pixels for name, count in self._within.items()}
