"""Labels of scenes against rays, rotations and masks that are worked out by other means."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pipelines.sources.scenes.arrangement import SIDES, Kind, arrange, euler, pose_of, poses
from pipelines.sources.scenes.labeled import label_arrangement
from pipelines.sources.scenes.shapes import CLASSES
from tests.helpers.rays_by_hand import PLANE_DEPTH, depths_and_owners


def check_dense_labels(kind: Kind, number: int) -> None:
    side = SIDES[kind]
    arrangement = arrange(kind, number, "1011")
    labels = label_arrangement(arrangement, side)
    depths, owners = depths_and_owners(arrangement, side)
    np.testing.assert_allclose(labels.depth, depths, rtol=0, atol=1e-6)
    assert labels.depth.dtype == np.float32
    for position, placed in enumerate(arrangement.objects):
        np.testing.assert_array_equal(labels.masks[position], owners == position)
        assert labels.class_ids[position] == placed.class_id
        assert labels.poses[position] == quadrant(placed.rotation @ [0, 1, 0])
        check_box(labels.boxes[position].tolist(), owners == position)
    class_ids = np.array([placed.class_id for placed in arrangement.objects])
    expected = np.where(owners < 0, 0, class_ids[owners] + 1)
    np.testing.assert_array_equal(labels.segmentation, expected)
    assert labels.segmentation.max() <= len(CLASSES)
    assert (labels.depth[owners < 0] == np.float32(PLANE_DEPTH)).all()


def check_box(box: list[int], mask: np.ndarray) -> None:
    """A box holds its mask, and no row or column at its sides could be left out."""
    left, top, right, bottom = box
    inside = np.zeros_like(mask)
    inside[top:bottom, left:right] = True
    assert not (mask & ~inside).any()
    if mask.any():
        assert mask[[top, bottom - 1], :].any(1).all()
        assert mask[:, [left, right - 1]].any(0).all()
    else:
        assert box == [0, 0, 0, 0]


def quadrant(top: np.ndarray) -> int:
    """The bin of the direction of a shape's top, from its largest component."""
    x, y, z = top / np.linalg.norm(top)
    if z > np.cos(np.pi / 8):
        return 0
    if abs(x) > abs(y):
        return 4 if x > 0 else 2
    return 3 if y > 0 else 1


@pytest.mark.parametrize(("kind", "numbers"), [("single", range(10)), ("multi", range(1))])
def test_depth_masks_boxes_and_poses(kind: Kind, numbers: range) -> None:
    for number in numbers:
        check_dense_labels(kind, number)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["single", "multi"])
def test_depth_masks_boxes_and_poses_of_a_hundred(kind: Kind) -> None:
    for number in range(0, 300_000, 3_000):
        check_dense_labels(kind, number)


def test_rotations_are_about_x_then_y_then_z() -> None:
    for angles in np.random.default_rng(0).normal(0, 2, (20, 3)):
        np.testing.assert_allclose(euler(angles), Rotation.from_euler("xyz", angles).as_matrix(), atol=1e-12)


def test_poses_of_many_images_are_those_of_each() -> None:
    for first in (0, 399_950):
        expected = [arrange("single", first + i, "0010").objects[0].pose for i in range(50)]
        assert poses(first, 50).tolist() == expected
    assert np.bincount(poses(0, 5000), minlength=5).min() > 500  # none is rare


@pytest.mark.parametrize(
    ("degrees", "pose"),
    [(-180, 1), (-136, 1), (-135, 2), (-46, 2), (-45, 3), (44, 3), (45, 4), (134, 4), (135, 1), (179, 1)],
)
def test_poses_at_the_borders_of_quadrants(degrees: float, pose: int) -> None:
    """As in the authors' code: the azimuth atan2(r0, r1), each border part of the next quadrant."""
    lean = np.radians(degrees)
    assert pose_of(np.array([np.sin(lean), np.cos(lean), 0.0])) == pose


def test_up_is_within_a_sixteenth_of_a_turn() -> None:
    for degrees, pose in ((0, 0), (22.4, 0), (22.6, 3), (180, 3)):
        tilt = np.radians(degrees)
        assert pose_of(np.array([0.0, np.sin(tilt) + 1e-9, np.cos(tilt)])) == pose


def test_a_fixed_viewpoint_is_upright() -> None:
    for number in range(10):
        (placed,) = arrange("single", number, "1100").objects
        np.testing.assert_allclose(placed.rotation @ [0, 1, 0], [0, 0, 1], atol=1e-12)
        assert placed.pose == 0


def test_a_hidden_object_has_an_empty_mask_and_box() -> None:
    hidden = 0
    for number in range(100, 160):
        arrangement = arrange("multi", number, "0000")
        labels = label_arrangement(arrangement, 32)
        for box, mask in zip(labels.boxes.tolist(), labels.masks, strict=True):
            check_box(box, mask)
            hidden += not mask.any()
        assert not (labels.masks.sum(0) > 1).any()
    assert hidden
