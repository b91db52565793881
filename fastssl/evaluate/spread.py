"""Spread of an encoder's features over the test images: ranks, standard deviation, uniformity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from fastssl.evaluate.protocol import Protocol
from fastssl.evaluate.subject import Subject
from fastssl.metrics.spread import effective_rank, feature_std, rank_me
from fastssl.metrics.uniformity import uniformity
from pipelines.command.ranges import Count
from pipelines.plan.order import keyed_sample


@dataclass(frozen=True, kw_only=True)
class Spread(Protocol):
    """RankMe, participation ratio, standard deviation and uniformity of features; labels are not read."""

    several_classes: ClassVar[bool] = True

    images: Count = 4096
    """Most test images taken, drawn by key."""

    def measure(self, subject: Subject) -> dict[str, Any]:
        """``rank_me`` of the features; ``effective_rank``, ``feature_std``, ``uniformity`` at unit length."""
        features, _ = subject.features("test")
        chosen = keyed_sample("spread", len(features), self.images)
        rows = features[torch.from_numpy(np.sort(chosen))]
        unit = functional.normalize(rows, dim=1)
        return {
            "rank_me": float(rank_me(rows)),
            "effective_rank": float(effective_rank(unit)),
            "feature_std": float(feature_std(unit)),
            "uniformity": float(uniformity(unit)) if len(unit) > 1 else 0.0,
            "settings": {"features": rows.shape[1]},
        }
