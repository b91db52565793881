from dataclasses import replace

import numpy as np

from pipelines.ops import CenterCrop, Flip, WholeImage
from pipelines.views import ViewSpec, draw


def test_the_box_is_the_whole_image_whatever_its_sides() -> None:
    heights, widths = np.array([30, 500, 1], np.int32), np.array([40, 333, 7], np.int32)
    spec = ViewSpec(size=24, crop=WholeImage(), flip=Flip())
    (rows,) = draw(spec, seed=1, epoch=0, samples=np.arange(3), heights=heights, widths=widths, views=[0])
    for row, height, width in zip(rows, heights, widths, strict=True):
        assert (row["top"], row["left"], row["height"], row["width"]) == (0, 0, height, width)
    (central,) = draw(
        replace(spec, crop=CenterCrop(fraction=1.0)),
        seed=1,
        epoch=0,
        samples=np.arange(3),
        heights=heights,
        widths=widths,
        views=[0],
    )
    names = [name for name in rows.dtype.names or () if name not in ("top", "left", "height", "width")]
    for name in names:
        np.testing.assert_array_equal(rows[name], central[name])
