"""Boxes of random area and ratio are distributed as torchvision's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms import RandomResizedCrop as Torchvisions

from pipelines.ops import RandomResizedCrop
from pipelines.views import ViewSpec
from tests.helpers.view_checks import SIGNIFICANCE, draw_many, draw_rows


def torchvision_boxes(spec: RandomResizedCrop, size: tuple[int, int], count: int) -> np.ndarray:
    image = torch.empty(3, 1, 1).expand(3, *size)
    boxes = [Torchvisions.get_params(image, list(spec.scale), list(spec.ratio)) for _ in range(count)]
    return np.array(boxes)


@pytest.mark.parametrize(
    ("size", "scale"),
    [((375, 500), (0.08, 1.0)), ((375, 500), (0.2, 1.0)), ((32, 32), (0.2, 1.0)), ((640, 160), (0.08, 1.0))],
)
def test_random_resized_boxes_are_distributed_as_torchvisions(
    size: tuple[int, int], scale: tuple[float, float]
) -> None:
    spec = RandomResizedCrop(scale=scale)
    rows = draw_many(ViewSpec(crop=spec), size=size)
    torch.manual_seed(0)
    theirs = torchvision_boxes(spec, size, 10_000).T
    ours = np.stack([rows[name] for name in ("top", "left", "height", "width")])

    def features(
        top: np.ndarray, left: np.ndarray, height: np.ndarray, width: np.ndarray
    ) -> dict[str, np.ndarray]:
        return {
            "area": height * width,
            "log ratio": np.log(width / height),
            "top": top,
            "left": left,
            "middle": 2 * top + height,
            "center": 2 * left + width,
        }

    expected = features(*theirs)
    for name, values in features(*ours).items():
        assert stats.ks_2samp(values, expected[name]).pvalue > SIGNIFICANCE, name


def test_random_resized_area_and_ratio_are_uniform() -> None:
    # An image this large and a share this small: no try fails, so that the rule's own distributions show.
    rows = draw_many(ViewSpec(crop=RandomResizedCrop(scale=(0.05, 0.3))), size=(20_000, 20_000))
    height, width = (rows[name].astype(float) for name in ("height", "width"))
    assert stats.kstest((height * width / 4e8 - 0.05) / 0.25, "uniform").pvalue > SIGNIFICANCE
    turned = (np.log(width / height) - np.log(3 / 4)) / np.log(16 / 9)
    assert stats.kstest(turned, "uniform").pvalue > SIGNIFICANCE
    for start, side in (("top", height), ("left", width)):
        assert stats.kstest(rows[start] / (20_000 - side), "uniform").pvalue > SIGNIFICANCE


@pytest.mark.parametrize("size", [(1000, 20), (20, 1000), (1, 300), (300, 1)])
def test_an_image_of_extreme_shape_falls_back_to_torchvisions_central_box(size: tuple[int, int]) -> None:
    spec = RandomResizedCrop(scale=(0.9, 1.0))  # no box of this share and ratio fits: every try fails
    rows = draw_many(ViewSpec(crop=spec), size=size)
    expected = torchvision_boxes(spec, size, 1)[0]
    for name, value in zip(("top", "left", "height", "width"), expected, strict=True):
        assert (rows[name] == value).all(), name


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    scale=st.tuples(st.floats(1e-6, 1), st.floats(1e-6, 1)).map(lambda pair: (min(pair), max(pair))),
    ratio=st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)).map(lambda pair: (min(pair), max(pair))),
)
def test_boxes_lie_inside_the_image_and_are_not_empty(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    spec = ViewSpec(crop=RandomResizedCrop(scale=scale, ratio=ratio))
    rows = draw_rows(spec, [(height, width)] * 50)[0]
    for start, side, whole in (("top", "height", height), ("left", "width", width)):
        assert (rows[start] >= 0).all()
        assert (rows[side] >= 1).all()
        assert (rows[start] + rows[side] <= whole).all()
