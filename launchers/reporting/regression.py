"""Regression line of points, with the confidence band of its mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from launchers.reporting.estimate import CONFIDENCE

_STEPS = 40  # places at which a band is drawn


@dataclass(frozen=True, kw_only=True)
class Regression:
    """A line y = intercept + slope x by least squares."""

    slope: float
    intercept: float
    x: np.ndarray
    """Places from the smallest x to the largest, float64 [40]."""
    y: np.ndarray
    """The line there."""
    half: np.ndarray
    """Half the width of the 95 % confidence band of the mean there."""


def regression(x: Sequence[float], y: Sequence[float]) -> Regression | None:
    """Ordinary least squares of n points; None of fewer than three, or of equal x.

    The band is t s sqrt(1/n + (x - mean)^2 / S_xx), s^2 the residuals' sum of squares over n - 2 (Draper,
    Smith, "Applied regression analysis").
    """
    count, xs, ys = len(x), np.asarray(x, np.float64), np.asarray(y, np.float64)
    spread = float(np.square(xs - xs.mean()).sum()) if count else 0.0
    if count < 3 or spread == 0:
        return None
    slope = float((xs - xs.mean()) @ (ys - ys.mean())) / spread
    intercept = float(ys.mean()) - slope * float(xs.mean())
    deviation = np.sqrt(np.square(ys - intercept - slope * xs).sum() / (count - 2))
    places = np.linspace(xs.min(), xs.max(), _STEPS)
    t = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 2))
    half = t * deviation * np.sqrt(1 / count + np.square(places - xs.mean()) / spread)
    return Regression(slope=slope, intercept=intercept, x=places, y=intercept + slope * places, half=half)
