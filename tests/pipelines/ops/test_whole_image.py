from dataclasses import replace

import numpy as np

from pipelines.ops import CenterCrop, Flip, WholeImage
from pipelines.views import ViewSpec
from tests.helpers.view_checks import draw_rows


def test_the_box_is_the_whole_image_whatever_its_sides() -> None:
    sizes = [(30, 40), (500, 333), (1, 7)]
    spec = ViewSpec(size=24, crop=WholeImage(), flip=Flip())
    (rows,) = draw_rows(spec, sizes, seed=1)
    for row, size in zip(rows, sizes, strict=True):
        assert (row["top"], row["left"], row["height"], row["width"]) == (0, 0, *size)
    (central,) = draw_rows(replace(spec, crop=CenterCrop(fraction=1.0)), sizes, seed=1)
    names = [name for name in rows.dtype.names or () if name not in ("top", "left", "height", "width")]
    for name in names:
        np.testing.assert_array_equal(rows[name], central[name])
