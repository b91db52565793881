"""Cutout sets its hole; the center is uniform over the view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from pipelines.ops import Cutout
from pipelines.ops.cutout import cutout
from tests.helpers.view_checks import EVERYTHING, SIGNIFICANCE, draw_many


@pytest.mark.parametrize(
    ("top", "left", "size"),
    [
        (3, 5, 4),
        (0, 0, 10),
        (-2, 6, 5),
        (-3, -3, 16),
        (8, 8, 1),
        (6, -1, 8),
        (2, 2, 0),
        (-6, 2, 4),
        (2, -9, 3),
    ],
)
def test_cutout_sets_its_hole_and_nothing_else(top: int, left: int, size: int) -> None:
    view = torch.rand(3, 10, 10) + 1
    rows, columns = torch.meshgrid(torch.arange(10), torch.arange(10), indexing="ij")
    hole = (rows >= top) & (rows < top + size) & (columns >= left) & (columns < left + size)
    holed = cutout(view, top, left, size)
    assert (holed[:, hole] == 0).all()
    assert torch.equal(holed[:, ~hole], view[:, ~hole])


def test_cutout_centre_is_uniform_over_the_view() -> None:
    rows = draw_many(replace(EVERYTHING, cutout=Cutout(size=0.5)))
    assert (rows["cutout_size"] == 32).all()
    for name in ("cutout_top", "cutout_left"):
        assert stats.chisquare(np.bincount(rows[name] + 16, minlength=64)).pvalue > SIGNIFICANCE


def test_cutout_inside_is_uniform_over_the_places_within_the_view() -> None:
    rows = draw_many(replace(EVERYTHING, cutout=Cutout(size=0.25, inside=True)))
    assert (rows["cutout_size"] == 16).all()
    for name in ("cutout_top", "cutout_left"):
        assert rows[name].min() == 0
        assert stats.chisquare(np.bincount(rows[name], minlength=49)).pvalue > SIGNIFICANCE
