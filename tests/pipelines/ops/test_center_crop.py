"""The central crop of an evaluation equals torchvision, up to the rounding of either."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from pipelines.views import evaluation_spec
from tests.helpers.view_checks import EVERYTHING, draw_rows


@pytest.mark.parametrize("size", [(375, 500), (500, 333), (32, 32), (48, 64), (1200, 900)])
@pytest.mark.parametrize(("side", "fraction"), [(224, 0.875), (32, 1.0), (96, 0.875)])
def test_evaluation_box_is_torchvisions_up_to_rounding(
    size: tuple[int, int], side: int, fraction: float
) -> None:
    """Both crop an image of its own coordinates, in pixels; the coordinates differ by less than 1.5."""
    height, width = size
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    coordinates = torch.from_numpy(np.stack([rows, columns, rows]))
    resized = TF.resize(coordinates, [round(side / fraction)], antialias=True)
    expected = TF.center_crop(resized, [side])

    spec = evaluation_spec(EVERYTHING, fraction)
    row = draw_rows(replace(spec, size=side), [size])[0, 0]
    box = coordinates[:, row["top"] :, row["left"] :][:, : row["height"], : row["width"]]
    ours = TF.resize(box, [side, side], antialias=True)
    inner = slice(2, -2)  # at the border of its box a resize sees less
    difference = (ours - expected)[:, inner, inner].abs().max()
    assert difference < 1.5 * max(1, min(size) * fraction / side)
    assert row["height"] == row["width"]
    assert row["flip"] == 0
    assert row["brightness"] == 1
