"""Means over seeds, and how far they can be trusted: the 95 % t interval."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        half_width: of the 95 % t interval about the mean; None of a single seed.
        count: seeds.
    """

    mean: float
    half_width: float | None
    count: int

    @property
    def low(self) -> float:
        """The interval's lower end; the mean itself where there is no interval."""
        return self.mean - (self.half_width or 0.0)

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.mean + (self.half_width or 0.0)

    def __str__(self) -> str:
        if self.half_width is None:
            return number(self.mean)
        decimals = len(number(self.mean).partition(".")[2])
        return f"{number(self.mean)} ± {self.half_width:,.{decimals}f}"


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval t s / sqrt(n) of n >= 1 values, s with n - 1 in the denominator (Student, 1908)."""
    count, mean = len(values), float(np.mean(values))
    if count == 1:
        return Estimate(mean, None, 1)
    return Estimate(mean, t_quantile(count - 1) * float(np.std(values, ddof=1)) / math.sqrt(count), count)


@functools.cache
def t_quantile(degrees: int) -> float:
    """t with P(\\|T\\| <= t) = 0.95 of Student's distribution.

    With T = sqrt(degrees) tan(angle), the density of the angle is proportional to cos(angle)^(degrees - 1)
    on (-pi/2, pi/2): bounded, so that summing it up by the trapezoid rule is exact enough.
    """
    angle = np.linspace(0, math.pi / 2, 200_001)
    density = np.cos(angle) ** (degrees - 1)
    share = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return math.sqrt(degrees) * math.tan(float(np.interp(CONFIDENCE, share / share[-1], angle)))


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
