"""Map of the test images, colored by class: two principal components of their features, or t-SNE's plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fastssl.diagnostics.diagnostic import Diagnostic
from fastssl.diagnostics.opened_run import OpenedRun
from fastssl.metrics.covariance import cross_covariance, projected
from fastssl.run.drawing import new_figure, to_png
from pipelines.command.errors import UserError
from pipelines.command.ranges import Count, Positive
from pipelines.plan.order import keyed_sample

_MOST_NAMED = 20  # classes in a legend: as many as the palette has colors


@dataclass(frozen=True, kw_only=True)
class Map(Diagnostic):
    """Principal components of the test images' features, or their map by t-SNE, colored by class."""

    projection: Literal["pca", "tsne"] = "pca"
    """First two principal components, or t-SNE (van der Maaten, Hinton, 2008) from these on."""
    perplexity: Positive = 30.0
    """Effective number of neighbors of t-SNE, less than the images drawn."""
    images: Count = 5000
    """Most test images drawn, chosen by key; the components are those of all, t-SNE's map of these alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.projection == "pca" and self.perplexity != Map.perplexity:
            raise UserError("--perplexity tells of --projection tsne: give this, or leave it out")

    def measure(self, runs: Sequence[OpenedRun]) -> tuple[dict[str, Any], bytes]:
        """``points``, [x, y, label] of each image drawn; how well the map fits.

        ``explained_variance`` of both components, or t-SNE's ``kl_divergence``.
        """
        runs[0].subject.data.require_one_class("map")
        features, labels = runs[0].features("test")
        if len(features) < 2 or features.shape[1] < 2:
            raise UserError("map: this needs two test images and two features: give more images")
        drawn = keyed_sample("map", len(features), self.images)
        points, fit = self._points(features, drawn)
        answers = labels[drawn].numpy()
        names = runs[0].subject.data.test.index.class_names
        rows = [[float(x), float(y), int(label)] for (x, y), label in zip(points, answers, strict=True)]
        result = {**fit, "class_names": list(names), "points": rows}
        return result, _draw(points, answers, names, _axes(fit), runs[0].label)

    def _points(self, features: Tensor, drawn: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """Coordinates [N, 2] of the images drawn, and how well they fit."""
        if self.projection == "pca":
            points, explained = principal_components(features)
            return points[drawn].numpy(), {"explained_variance": explained}
        if self.perplexity >= len(drawn):
            raise UserError(
                f"map: --perplexity {self.perplexity:g} needs more than as many images, not {len(drawn)}: "
                "give more images, or a smaller one"
            )
        embedded, divergence = tsne(features[drawn], self.perplexity)
        return embedded, {"kl_divergence": divergence}

    def report(self, result: Any) -> str:
        """Shares of the variance, or t-SNE's divergence."""
        if "kl_divergence" in result:
            return f"map: t-SNE with a KL divergence of {result['kl_divergence']:.3f}"
        shares = " and ".join(f"{share:.1%}" for share in result["explained_variance"])
        return f"map: two components with {shares} of the variance"


def tsne(features: Tensor, perplexity: float) -> tuple[np.ndarray, float]:
    """t-SNE of features [N, D] by scikit-learn, from the principal components on; the same at each call.

    Returns:
        coordinates [N, 2] and the Kullback-Leibler divergence that is left.
    """
    from sklearn.manifold import TSNE  # here, as it is slow to import

    model = TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=0)
    return model.fit_transform(features.numpy()), float(model.kl_divergence_)


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


def _axes(fit: Mapping[str, Any]) -> tuple[str, str]:
    """Labels of the axes."""
    if "kl_divergence" in fit:
        return "t-SNE 1", "t-SNE 2"
    first, second = fit["explained_variance"]
    return f"component 1 ({first:.1%} of the variance)", f"component 2 ({second:.1%})"


def _draw(
    points: np.ndarray, labels: np.ndarray, names: Sequence[str], axes_labels: tuple[str, str], title: str
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
    axes.set(xlabel=axes_labels[0], ylabel=axes_labels[1])
    return to_png(figure)
