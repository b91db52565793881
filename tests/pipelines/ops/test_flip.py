"""Mirroring equals torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from pipelines.ops import Flip
from pipelines.ops.flip import flip
from pipelines.views import ViewSpec
from tests.helpers.view_checks import IMAGES, assert_rate, draw_many, images


@pytest.mark.parametrize("name", IMAGES)
def test_flip_equals_torchvision(name: str) -> None:
    image = images()[name]
    assert torch.equal(flip(image), TF.horizontal_flip(image))


def test_rate_is_as_specified() -> None:
    rows = draw_many(ViewSpec(flip=Flip(p=0.3)))
    assert_rate(rows["flip"] == 1, 0.3)
    assert set(np.unique(rows["flip"])) == {0, 1}
