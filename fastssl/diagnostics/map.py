"""Map of the test images: the two principal components of their features, colored by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastssl.diagnostics.diagnostic import Diagnostic
from fastssl.diagnostics.drawing import new_figure, to_png
from fastssl.diagnostics.opened_run import OpenedRun
from fastssl.metrics.covariance import cross_covariance, projected
from pipelines.command.errors import UserError
from pipelines.command.ranges import Count, check_ranges
from pipelines.keys import stable_id
from pipelines.plan.order import permute

_MOST_NAMED = 20  # classes in a legend: as many as the palette has colors


@dataclass(frozen=True, kw_only=True)
class Map(Diagnostic):
    """First two principal components of the test images' features, colored by class."""

    images: Count = 5000
    """Most test images drawn, chosen by key; the components are those of all."""

    def __post_init__(self) -> None:
        check_ranges(self)

    def measure(self, runs: Sequence[OpenedRun]) -> tuple[dict[str, Any], bytes]:
        """``points``, [x, y, label] of each image drawn; ``explained_variance`` of both components."""
        runs[0].subject.data.require_one_class("map")
        features, labels = runs[0].features("test")
        if len(features) < 2 or features.shape[1] < 2:
            raise UserError("map: this needs two test images and two features: give more images")
        points, explained = principal_components(features)
        count = len(points)
        drawn = permute(stable_id("map"), 0, count, np.arange(min(self.images, count)))
        chosen, answers = points[drawn].numpy(), labels[drawn].numpy()
        names = runs[0].subject.data.test.index.class_names
        rows = [[float(x), float(y), int(label)] for (x, y), label in zip(chosen, answers, strict=True)]
        result = {"explained_variance": explained, "class_names": list(names), "points": rows}
        return result, _draw(chosen, answers, names, explained, runs[0].label)

    def report(self, result: Any) -> str:
        """Shares of the variance."""
        shares = " and ".join(f"{share:.1%}" for share in result["explained_variance"])
        return f"map: two components with {shares} of the variance"


def principal_components(features: Tensor) -> tuple[Tensor, list[float]]:
    """Coordinates of features [N, D >= 2] along their first two principal components.

    Returns:
        float64 [N, 2], of mean 0, each direction's largest entry positive; each one's share of the variance.
    """
    values, vectors = torch.linalg.eigh(cross_covariance(features, features))
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)[:, :2]
    signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    total = float(values.sum())
    return projected(features, vectors * signs), [
        float(value) / total if total else 0.0 for value in values[:2]
    ]


def _draw(
    points: np.ndarray, labels: np.ndarray, names: Sequence[str], explained: Sequence[float], title: str
) -> bytes:
    from matplotlib import colormaps  # here, as matplotlib is slow to import

    figure = new_figure(7, 5.5, f"features of {title}")
    axes = figure.subplots()
    palette = colormaps["tab10" if len(names) <= 10 else "tab20"]
    if len(names) <= _MOST_NAMED:
        for label in np.unique(labels):
            mine = points[labels == label]
            axes.scatter(*mine.T, s=6, color=palette(int(label)), label=names[label])
        axes.legend(fontsize=7, markerscale=2)
    else:
        axes.scatter(*points.T, s=6, c=labels, cmap="hsv")
    axes.set(
        xlabel=f"component 1 ({explained[0]:.1%} of the variance)",
        ylabel=f"component 2 ({explained[1]:.1%})",
    )
    return to_png(figure)
