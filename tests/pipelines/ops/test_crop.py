"""Cutting a box and resizing it equals torchvision."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from pipelines.ops.crop import crop_resize
from tests.helpers.view_checks import assert_close, images

BOXES = [
    (0, 0, 160, 200),  # the whole image
    (10, 20, 64, 64),  # exactly the view's size
    (13, 7, 120, 150),  # smaller views than boxes, not square
    (100, 150, 9, 14),  # larger views than boxes
    (159, 199, 1, 1),  # the last pixel alone
    (0, 0, 1, 200),  # a line
    (50, 0, 64, 100),  # one side of the view's size
    (-4, -4, 64, 64),  # over the upper left corner
    (120, 180, 64, 64),  # over the lower right one
    (-30, -20, 220, 250),  # all around
]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("size", [1, 32, 64, 224])
def test_crop_resize_equals_torchvision(box: tuple[int, int, int, int], size: int) -> None:
    image = images()["china"]
    expected = TF.resized_crop(image, *box, size=[size, size], antialias=True)
    assert_close(crop_resize(image, *box, size), expected)


def test_a_box_of_the_views_size_is_cut_and_not_filtered() -> None:
    image = images()["china"]
    assert torch.equal(crop_resize(image, 10, 20, 64, 64, 64), image[:, 10:74, 20:84])
    padded = torch.zeros(3, 168, 208)
    padded[:, 4:164, 4:204] = image
    assert torch.equal(crop_resize(image, -4, -4, 64, 64, 64), padded[:, :64, :64])
    assert torch.equal(crop_resize(image, 100, 140, 64, 64, 64), padded[:, 104:168, 144:208])


def test_pixels_outside_the_box_have_no_influence() -> None:
    image = images()["china"]
    other = torch.rand_like(image)
    other[:, 30:100, 40:90] = image[:, 30:100, 40:90]
    ours = crop_resize(image, 30, 40, 70, 50, 32)
    assert torch.equal(crop_resize(other, 30, 40, 70, 50, 32), ours)
