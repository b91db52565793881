"""Means over seeds and their spread: the 95 % t interval, or the range of two seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds."""

    mean: float
    low: float
    """Lower end of the interval; of two seeds, the lower value (their t interval is 13 times as wide)."""
    high: float
    count: int
    """Seeds."""

    def __str__(self) -> str:
        if self.count == 1:
            return number(self.mean)
        if self.count == 2:
            return f"{number(self.mean)} ({number(self.low)} to {number(self.high)})"
        decimals = len(number(self.mean).partition(".")[2])
        return f"{number(self.mean)} ± {self.high - self.mean:,.{decimals}f}"


def estimate(values: Sequence[float]) -> Estimate:
    """Mean of n >= 1 values; its interval t s / sqrt(n), s with n - 1 in the denominator (Student, 1908)."""
    count, mean = len(values), float(np.mean(values))
    if count < 3:
        return Estimate(mean=mean, low=min(values), high=max(values), count=count)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * np.std(values, ddof=1)) / math.sqrt(count)
    return Estimate(mean=mean, low=mean - half, high=mean + half, count=count)


def number(value: float) -> str:
    """A number for a reader: three decimals below 10, whole above 1000."""
    size = abs(value)
    if not math.isfinite(value):
        return str(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.3f}" if size >= 0.0095 or size == 0 else f"{value:.2g}"
