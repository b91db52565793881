"""Regression lines and their bands."""

import numpy as np
import pytest
from scipy import stats

from launchers.reporting.regression import regression


def test_line_and_band_are_those_of_the_normal_equations() -> None:
    """Coefficients of X'X b = X'y, band of the quadratic form x' s^2 (X'X)^-1 x; scipy's slope."""
    generator = np.random.default_rng(0)
    x = generator.uniform(0.6, 0.8, 7)
    y = 0.2 + 0.9 * x + generator.normal(size=7) * 0.02
    found = regression(x.tolist(), y.tolist())
    assert found is not None
    design = np.column_stack([np.ones(7), x])
    inverse = np.linalg.inv(design.T @ design)
    coefficients = inverse @ design.T @ y
    variance = np.square(y - design @ coefficients).sum() / 5
    at = np.column_stack([np.ones_like(found.x), found.x])
    errors = np.sqrt(variance * np.einsum("ij,jk,ik->i", at, inverse, at))
    np.testing.assert_allclose(found.y, at @ coefficients, rtol=1e-10)
    np.testing.assert_allclose(found.half, stats.t.ppf(0.975, 5) * errors, rtol=1e-10)
    assert (found.x.min(), found.x.max()) == (x.min(), x.max())
    assert found.slope == pytest.approx(stats.linregress(x, y).slope)
    assert found.intercept == pytest.approx(stats.linregress(x, y).intercept)


def test_few_points_or_equal_x_have_no_line() -> None:
    assert regression([], []) is None
    assert regression([1, 2], [1, 2]) is None
    assert regression([1, 1, 1], [1, 2, 3]) is None
