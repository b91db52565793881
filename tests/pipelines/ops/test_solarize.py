"""Solarize equals torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from pipelines.ops import Solarize
from pipelines.ops.solarize import NO_SOLARIZE, solarize
from pipelines.render import reference
from pipelines.views import ViewSpec
from tests.helpers.view_checks import IMAGES, assert_close, draw_many, images, plain_row


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("threshold", [0.0, 0.3, 128 / 255, 1.0])
def test_solarize_equals_torchvision(name: str, threshold: float) -> None:
    image = images()[name]
    assert_close(solarize(image, threshold), TF.solarize(image, threshold))


def test_solarize_inverts_from_exactly_the_threshold_on() -> None:
    pixels = np.array([[[127, 128, 129]]], np.uint8)
    row = plain_row(1, 1)
    row["solarize_threshold"] = Solarize().threshold
    expected = torch.tensor([127, 255 - 128, 255 - 129]).view(3, 1, 1) / 255
    assert_close(reference.render_colors(pixels, row, 1), expected, 1e-7)


def test_the_threshold_is_the_spec_s() -> None:
    thresholds = draw_many(ViewSpec(solarize=Solarize(p=0.2)))["solarize_threshold"]
    assert set(thresholds.tolist()) == {NO_SOLARIZE, float(np.float32(128 / 255))}
