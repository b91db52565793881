"""Turning gray equals torchvision."""

from __future__ import annotations

import pytest
from torchvision.transforms.v2 import functional as TF

from pipelines.ops.grayscale import to_grayscale
from tests.helpers.view_checks import IMAGES, assert_close, images


@pytest.mark.parametrize("name", IMAGES)
def test_gray_equals_torchvision(name: str) -> None:
    image = images()[name]
    assert_close(to_grayscale(image), TF.rgb_to_grayscale(image, num_output_channels=3))
