"""A padded crop equals torchvision's pad and crop, and is uniform over its places."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats
from torchvision.transforms.v2 import functional as TF

from pipelines.ops import PaddedCrop
from pipelines.render import reference
from pipelines.views import ViewSpec
from tests.helpers.view_checks import SIGNIFICANCE, as_image, draw_many, draw_rows


def test_padded_crop_equals_torchvisions_pad_and_crop() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    spec = ViewSpec(size=32, crop=PaddedCrop(padding=4))
    padded = TF.pad(as_image(pixels), [4])
    for row in draw_rows(spec, [(32, 32)] * 50)[0]:
        expected = TF.crop(padded, int(row["top"]) + 4, int(row["left"]) + 4, 32, 32)
        expected = expected.flip(2) if row["flip"] else expected
        assert torch.equal(reference.render_colors(pixels, row, 32), expected)


def test_padded_crop_is_uniform_over_its_places() -> None:
    rows = draw_many(ViewSpec(size=32, crop=PaddedCrop(padding=4)), size=(32, 36))
    assert (rows["height"] == 32).all()
    assert (rows["width"] == 32).all()
    assert rows["top"].min() == -4
    assert stats.chisquare(np.bincount(rows["top"] + 4, minlength=9)).pvalue > SIGNIFICANCE
    assert stats.chisquare(np.bincount(rows["left"] + 4, minlength=13)).pvalue > SIGNIFICANCE
    small = draw_many(ViewSpec(size=32, crop=PaddedCrop(padding=4)), size=(10, 20))
    assert (small["top"] == -4).all()  # the padded image is smaller than the view: no freedom
    assert (small["left"] == -4).all()
