"""Targets of views, against torchvision's ``tv_tensors`` and by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from pipelines.dense.placement import Placement
from pipelines.dense.ride import ride
from pipelines.targets import IGNORED, Targets
from tests.helpers.target_source import random_targets


@st.composite
def placements(draw: st.DrawFn, height: int, width: int, outside: int) -> Placement:
    """Any box that overlaps the image, and reaches at most ``outside`` pixels over each of its borders."""
    top, left = (draw(st.integers(-outside, side - 1)) for side in (height, width))
    bottom = draw(st.integers(max(top, 0) + 1, height + outside))
    right = draw(st.integers(max(left, 0) + 1, width + outside))
    box_height, box_width = bottom - top, right - left
    resized_height, resized_width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    if draw(st.booleans()):
        resized_height, resized_width = box_height, box_width
    window_top, window_left = (draw(st.integers(0, side - 1)) for side in (resized_height, resized_width))
    return Placement(
        top=top,
        left=left,
        box_height=box_height,
        box_width=box_width,
        resized_height=resized_height,
        resized_width=resized_width,
        window_top=window_top,
        window_left=window_left,
        height=draw(st.integers(1, resized_height - window_top)),
        width=draw(st.integers(1, resized_width - window_left)),
        flip=draw(st.booleans()),
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Targets, Placement]:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    targets = random_targets(generator, height, width, draw(st.integers(0, 4)))
    assert targets.boxes is not None
    ragged = targets.boxes + generator.uniform(-0.4, 0.4, targets.boxes.shape).astype(np.float32)
    targets = replace(targets, boxes=np.clip(ragged, 0, [width, height, width, height]).astype(np.float32))
    return targets, draw(placements(height, width, draw(st.sampled_from([0, 5]))))


def by_torchvision(thing: Any, place: Placement) -> Any:
    thing = F.crop(thing, place.top, place.left, place.box_height, place.box_width)
    thing = F.resize(thing, [place.resized_height, place.resized_width])
    thing = F.crop(thing, place.window_top, place.window_left, place.height, place.width)
    return F.horizontal_flip(thing) if place.flip else thing


@settings(max_examples=75, deadline=None, derandomize=True)
@given(cases())
def test_targets_ride_as_tv_tensors_do(case: tuple[Targets, Placement]) -> None:
    targets, place = case
    size = (targets.height, targets.width)
    assert targets.boxes is not None
    assert targets.masks is not None
    boxes = tv_tensors.BoundingBoxes(torch.from_numpy(targets.boxes), format="XYXY", canvas_size=size)
    moved = by_torchvision(boxes, place)
    assert moved.canvas_size == (place.height, place.width)
    # one channel per map; IGNORED and depth below the maps' own values so that the border shows as 0
    maps = np.stack([*targets.masks, np.ones(size, bool)]).astype(np.uint8)
    *masks, inside = by_torchvision(tv_tensors.Mask(torch.from_numpy(maps)), place).numpy().astype(bool)
    rode = ride(targets, place)
    assert (rode.height, rode.width) == (place.height, place.width)
    assert rode.boxes is not None
    assert rode.masks is not None
    sides = (moved[:, 2:] - moved[:, :2]).min(1).values.numpy()
    kept = [i for i, mask in enumerate(masks) if mask.any() and sides[i] > 1e-4]
    in_doubt = [i for i, mask in enumerate(masks) if mask.any() and 0 < sides[i] <= 1e-4]
    if in_doubt:  # their boxes have a side of one rounding of float32
        return
    np.testing.assert_allclose(rode.boxes, moved.numpy()[kept], rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(rode.masks, np.array(masks, bool).reshape(-1, *inside.shape)[kept])
    for name in ("classes", "crowd", "difficult"):
        np.testing.assert_array_equal(getattr(rode, name), getattr(targets, name)[kept])
    np.testing.assert_array_equal(rode.areas, rode.masks.sum((1, 2)))
    for name, outside in (("segmentation", IGNORED), ("depth", 0)):
        one = by_torchvision(tv_tensors.Mask(torch.from_numpy(getattr(targets, name)[None])), place)
        expected = np.where(inside, one[0].numpy(), outside)
        np.testing.assert_array_equal(getattr(rode, name), expected)
        assert getattr(rode, name).dtype == getattr(targets, name).dtype


PLACE = Placement(
    top=0, left=0, box_height=10, box_width=20, resized_height=20, resized_width=60, height=20, width=60,
    flip=False,
)  # fmt: skip


def boxes_only(*boxes: tuple[float, float, float, float], **more: Any) -> Targets:
    classes = np.arange(len(boxes))
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return Targets(height=10, width=20, boxes=array, classes=classes, **more)


def test_boxes_by_hand() -> None:
    targets = boxes_only((1, 2, 4, 5), areas=np.array([5.0], np.float32))
    rode = ride(targets, PLACE)
    assert rode.boxes is not None
    assert rode.areas is not None
    assert rode.boxes.tolist() == [[3, 4, 12, 10]]
    assert rode.boxes.dtype == rode.areas.dtype == np.float32
    assert rode.areas.tolist() == [5 * 2 * 3]
    rode = ride(targets, replace(PLACE, flip=True))
    assert rode.boxes is not None
    assert rode.boxes.tolist() == [[60 - 12, 4, 60 - 3, 10]]
    rode = ride(targets, replace(PLACE, window_top=8, window_left=6, height=12, width=54))
    assert rode.boxes is not None
    assert rode.areas is not None
    assert rode.boxes.tolist() == [[0, 0, 6, 2]]
    assert rode.areas.tolist() == [pytest.approx(30 * (6 * 2) / (9 * 6))]


def test_boxes_of_one_pixel_stay_and_those_outside_or_without_extent_go() -> None:
    targets = boxes_only(
        (19, 9, 20, 10),  # the last pixel
        (25, 2, 30, 5),  # beyond the image
        (-9, -9, 0, 0),
        (3, 3, 3, 8),  # a line
        (-5, -5, 40, 40),  # around the image
        (0, 0, 1, 1),
        (8, 7, 6, 5),  # turned over
    )
    rode = ride(targets, PLACE)
    assert rode.boxes is not None
    assert rode.classes is not None
    assert rode.classes.tolist() == [0, 4, 5]
    assert rode.boxes.tolist() == [[57, 18, 60, 20], [0, 0, 60, 20], [0, 0, 3, 2]]


def test_images_without_objects_and_without_labels() -> None:
    rode = ride(boxes_only(masks=np.zeros((0, 10, 20), bool), areas=np.zeros(0, np.float32)), PLACE)
    assert rode.boxes is not None
    assert rode.masks is not None
    assert (rode.boxes.shape, rode.masks.shape) == ((0, 4), (0, 20, 60))
    rode = ride(Targets(height=10, width=20), PLACE)
    assert vars(rode) == vars(Targets(height=20, width=60))


def test_a_mask_that_vanishes_takes_its_object_along() -> None:
    masks = np.zeros((2, 10, 20), bool)
    masks[0, 4, 5] = masks[1, 0, 0] = True  # lines 0, 3, 6 and columns 0, 4, 8, 12, 16 are taken
    targets = boxes_only((5, 4, 6, 5), (0, 0, 1, 1), masks=masks)
    small = replace(PLACE, resized_height=3, resized_width=5, height=3, width=5)
    rode = ride(targets, small)
    assert rode.classes is not None
    assert rode.classes.tolist() == [1]


def test_a_shifted_view_has_no_class_where_it_is_uncovered() -> None:
    segmentation = np.arange(200, dtype=np.uint8).reshape(10, 20)
    targets = boxes_only((0, 0, 2, 2), (18, 8, 20, 10), segmentation=segmentation)
    place = replace(PLACE, resized_height=10, resized_width=20, height=10, width=20, window_top=-3)
    rode = ride(targets, replace(place, window_left=4))
    assert rode.segmentation is not None
    assert rode.boxes is not None
    assert (rode.segmentation[:3] == IGNORED).all()
    assert (rode.segmentation[:, 16:] == IGNORED).all()
    assert rode.segmentation[3, 0] == segmentation[0, 4]
    assert rode.boxes.tolist() == []  # one is shifted out to the left, one at the bottom


def test_the_image_is_left_as_it_is() -> None:
    targets = random_targets(np.random.default_rng(0), 10, 20, 3)
    before = {name: np.copy(value) for name, value in vars(targets).items()}
    rode = ride(targets, replace(PLACE, resized_height=10, resized_width=20, height=10, width=20, flip=True))
    assert rode.segmentation is not None
    rode.segmentation[:] = 0
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(targets, name), value)
