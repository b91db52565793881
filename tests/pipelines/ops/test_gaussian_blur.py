"""Gaussian blur equals torchvision and the formula; sigmas are uniform over their range."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from pipelines.ops import GaussianBlur
from pipelines.ops.gaussian_blur import blur_radius, gaussian_blur
from pipelines.views import ViewSpec
from tests.helpers.view_checks import assert_close, assert_uniform, draw_many, images


@pytest.mark.parametrize("name", ["china", "random", "cube", "black", "white", "pure colors", "one pixel"])
@pytest.mark.parametrize("sigma", [0.1, 0.25, 0.26, 0.5, 1.0, 1.37, 2.0, 5.0])
def test_blur_equals_torchvision(name: str, sigma: float) -> None:
    image = images()[name]
    radius = blur_radius(sigma, min(image.shape[1:]))
    assert_close(gaussian_blur(image, sigma), TF.gaussian_blur(image, [2 * radius + 1] * 2, [sigma] * 2))


def test_blur_radius_covers_four_sigma_where_it_can() -> None:
    cases = [(0.1, 224, 1), (0.25, 224, 1), (0.26, 224, 2), (2.0, 224, 8), (2.0, 6, 5), (2.0, 1, 0)]
    assert [blur_radius(sigma, side) for sigma, side, _ in cases] == [r for *_, r in cases]


def test_blur_of_a_point_is_the_gaussian() -> None:
    image = torch.zeros(3, 41, 41)
    image[:, 20, 20] = 1
    rows, columns = np.mgrid[-20:21, -20:21]
    density = np.exp(-(rows**2 + columns**2) / (2 * 1.5**2))
    density[np.maximum(abs(rows), abs(columns)) > 6] = 0  # 4 sigma
    expected = torch.from_numpy(density / density.sum()).expand(3, -1, -1)
    assert_close(gaussian_blur(image, 1.5), expected, 1e-7)


def test_sigma_is_uniform_over_its_range() -> None:
    sigmas = draw_many(ViewSpec(blur=GaussianBlur(p=0.5, sigma=(0.1, 2.0))))["blur_sigma"]
    assert_uniform(sigmas[sigmas > 0], 0.1, 2.0)
