"""Spectrum of an encoder's features: eigenvalues of their covariance, RankMe, participation ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastssl.diagnostics.diagnostic import Diagnostic
from fastssl.diagnostics.opened_run import OpenedRun
from fastssl.metrics.covariance import cross_covariance
from fastssl.metrics.spread import rank_me
from fastssl.run.drawing import new_figure, to_png
from pipelines.command.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Spectrum(Diagnostic):
    """Eigenvalues of the covariance of the test images' features, RankMe and participation ratio."""

    def measure(self, runs: Sequence[OpenedRun]) -> tuple[dict[str, Any], bytes]:
        """``rank_me`` of the features as they are; ``participation_ratio`` of the ``eigenvalues``."""
        features, _ = runs[0].subject.features("test")
        if len(features) < 2:
            raise UserError("spectrum: there is one test image, and this needs two: give more")
        eigenvalues = covariance_eigenvalues(features)
        total, squares = float(eigenvalues.sum()), float(eigenvalues.square().sum())
        if not squares:
            raise UserError(f"spectrum: all features of {runs[0].where} are equal: it has collapsed")
        result = {
            "rank_me": float(rank_me(features)),
            "participation_ratio": total**2 / squares,
            "eigenvalues": eigenvalues.tolist(),
            "settings": {"images": len(features), "features": features.shape[1]},
        }
        return result, _draw(result, runs[0].label)


def covariance_eigenvalues(features: Tensor) -> Tensor:
    """Eigenvalues of the covariance of features [N, D] (over N), float64 [D], largest first, none below 0."""
    return torch.linalg.eigvalsh(cross_covariance(features, features)).flip(0).clamp(min=0)


def _draw(result: dict[str, Any], label: str) -> bytes:
    figure = new_figure(6, 4, f"spectrum of {label}'s features")
    axes = figure.subplots()
    values = [value for value in result["eigenvalues"][: result["settings"]["images"] - 1] if value > 0]
    axes.plot(range(1, len(values) + 1), values, marker=".")
    axes.set(xscale="log", yscale="log", xlabel="component", ylabel="eigenvalue of the covariance")
    rank, ratio = result["rank_me"], result["participation_ratio"]
    axes.set_title(f"RankMe {rank:.1f}, participation ratio {ratio:.1f}", fontsize=9)
    axes.grid(alpha=0.3)
    return to_png(figure)
