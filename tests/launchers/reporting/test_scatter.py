"""Regression lines and their bands."""

import numpy as np
import pytest
from scipy import stats

from launchers.reporting.scatter import regression


def test_line_and_band_are_those_of_the_normal_equations() -> None:
    """Coefficients of X'X b = X'y, band of the quadratic form x' s^2 (X'X)^-1 x; scipy's slope."""
    generator = np.random.default_rng(0)
    x = generator.uniform(0.6, 0.8, 7)
    y = 0.2 + 0.9 * x + generator.normal(size=7) * 0.02
    found = regression(x.tolist(), y.tolist())
    assert found is not None
    slope, points = found
    design = np.column_stack([np.ones(7), x])
    inverse = np.linalg.inv(design.T @ design)
    coefficients = inverse @ design.T @ y
    variance = np.square(y - design @ coefficients).sum() / 5
    at = np.column_stack([np.ones(len(points)), [point.x for point in points]])
    errors = np.sqrt(variance * np.einsum("ij,jk,ik->i", at, inverse, at))
    line, half = at @ coefficients, stats.t.ppf(0.975, 5) * errors
    np.testing.assert_allclose([point.y for point in points], line, rtol=1e-10)
    np.testing.assert_allclose([point.low for point in points], line - half, rtol=1e-10)
    np.testing.assert_allclose([point.high for point in points], line + half, rtol=1e-10)
    assert (points[0].x, points[-1].x) == (x.min(), x.max())
    assert slope == pytest.approx(stats.linregress(x, y).slope)


def test_few_points_or_equal_x_have_no_line() -> None:
    assert regression([], []) is None
    assert regression([1, 2], [1, 2]) is None
    assert regression([1, 1, 1], [1, 2, 3]) is None
