"""Mirroring equals torchvision."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from pipelines.ops.flip import flip
from tests.helpers.view_checks import IMAGES, images


@pytest.mark.parametrize("name", IMAGES)
def test_flip_equals_torchvision(name: str) -> None:
    image = images()[name]
    assert torch.equal(flip(image), TF.horizontal_flip(image))
