"""A shift equals a crop of the padded view, on every path, and is uniform but for the views that stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms.v2 import functional as TF

from pipelines.ops import ChannelJitter, Cutout, Shift
from pipelines.render import reference
from pipelines.render.cpu import Workspace, render_constants, render_views
from pipelines.views import ViewSpec
from tests.helpers.view_checks import EVERYTHING, SIGNIFICANCE, assert_rate, draw_many, photographs, plain_row

PLACES = [(0, 0), (3, 0), (0, -3), (-2, 1), (8, 8), (-8, 5)]


@pytest.mark.parametrize(("down", "right"), PLACES)
def test_a_shift_equals_torchvisions_pad_and_crop(down: int, right: int) -> None:
    view, row = torch.randn(3, 8, 8), plain_row(8, 8)
    row["shift_down"], row["shift_right"] = down, right
    expected = TF.crop(TF.pad(view, [8]), 8 - down, 8 - right, 8, 8)
    assert torch.equal(Shift.reference(view, row, 8), expected)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8"])
def test_every_format_is_jittered_averaged_and_shifted_before_the_hole_is_cut(dtype: str) -> None:
    """The renderer moves pixels in place: whatever the direction, none is overwritten before it is read."""
    size, pixels = 16, np.ascontiguousarray(photographs()[0][100:116, 200:216])
    jitter = ChannelJitter(p=1.0)
    spec = ViewSpec(size=size, channel_jitter=jitter, shift=Shift(padding=1.0), cutout=Cutout(size=0.25))
    numbers = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16, "uint8": np.uint8}[dtype]
    for down, right in PLACES:
        row = np.array(plain_row(size, size))
        row["shift_down"], row["shift_right"] = down, right
        row["cutout_top"], row["cutout_left"], row["cutout_size"] = 2, 3, 4
        row["channel_mean"] = down == 8
        row["channel_scale"], row["channel_shift"] = (1.1, 0.9, 1), (0.1, 0, -0.1)
        out = np.zeros((1, 1, size, size, 3), numbers)
        table = row.reshape(1, 1)
        render_views(pixels, table, 0, render_constants(spec, dtype), out, Workspace())  # type: ignore[arg-type]
        expected = reference.render(pixels, table[0, 0], spec).permute(1, 2, 0).numpy()
        found = out[0, 0]
        if dtype == "bfloat16":
            found = torch.from_numpy(found.view(np.int16)).view(torch.bfloat16).float().numpy()
        if dtype == "uint8":
            levels = 255 * (expected * spec.std + spec.mean)
            assert np.abs(found - levels.clip(0, 255)).max() <= 1.01
        else:
            tolerance = {"float32": 0.01, "float16": 0.01, "bfloat16": 0.03}[dtype]
            assert np.abs(found.astype(np.float32) - expected).max() < tolerance


def test_places_are_uniform_but_for_the_views_that_stay() -> None:
    rows = draw_many(replace(EVERYTHING, shift=Shift(padding=0.0625, stay=0.2)))  # 4 of 64 pixels
    resting = (rows["shift_down"] == 0) & (rows["shift_right"] == 0)
    assert_rate(resting, 0.2 + 0.8 / 81)
    expected = np.full(9, 0.8 / 9)
    expected[4] += 0.2
    for name in ("shift_down", "shift_right"):
        counts = np.bincount(rows[name] + 4, minlength=9)
        assert stats.chisquare(counts, expected * len(rows)).pvalue > SIGNIFICANCE
