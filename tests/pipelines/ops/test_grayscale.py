"""Turning gray equals torchvision."""

from __future__ import annotations

import pytest
from torchvision.transforms.v2 import functional as TF

from pipelines.ops import Grayscale
from pipelines.ops.grayscale import to_grayscale
from pipelines.views import ViewSpec
from tests.helpers.view_checks import IMAGES, assert_close, assert_rate, draw_many, images


@pytest.mark.parametrize("name", IMAGES)
def test_gray_equals_torchvision(name: str) -> None:
    image = images()[name]
    assert_close(to_grayscale(image), TF.rgb_to_grayscale(image, num_output_channels=3))


def test_rate_is_as_specified() -> None:
    assert_rate(draw_many(ViewSpec(grayscale=Grayscale(p=0.2)))["grayscale"] == 1, 0.2)
