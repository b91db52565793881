"""Shapes of the ten classes: one size, many, and dealt to buckets that share none."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.sources.scenes.parts import BALL, BOX
from pipelines.sources.scenes.shapes import BUCKETS, CLASSES, INSTANCES, shape


def test_the_classes_are_the_papers() -> None:
    names = (
        "airplane bench cabinet car chair lamp sofa table vessel motorcycle"  # as the paper's code has them
    )
    assert sorted(names.split()) == list(CLASSES)
    assert BUCKETS * INSTANCES == 768


def points(parts: np.ndarray) -> np.ndarray:
    """Random points of the surfaces of parts."""
    rng, found = np.random.default_rng(0), []
    for part in parts:
        unit = rng.normal(size=(4000, 3))
        if part["kind"] == BALL:
            unit /= np.linalg.norm(unit, axis=1, keepdims=True)
            unit = unit[unit[:, 2] <= part["taper"]]
        else:
            size = np.abs(unit).max(1) if part["kind"] == BOX else np.hypot(unit[:, 0], unit[:, 1])
            unit = np.column_stack([unit[:, :2] / size[:, None], np.sign(unit[:, 2])])
            unit[:, :2] *= np.where(unit[:, 2:] < 0, 1, part["taper"])
        found.append(part["center"] + unit @ part["axes"])
    return np.concatenate(found)


@pytest.mark.parametrize("class_id", range(len(CLASSES)), ids=CLASSES)
def test_shapes_are_of_one_size_about_the_origin(class_id: int) -> None:
    for instance in range(4):
        parts = shape(class_id, instance, instance)
        assert 3 <= len(parts) <= 45
        low, high = points(parts).min(0), points(parts).max(0)
        assert (high - low).max() == pytest.approx(1, abs=0.04)
        np.testing.assert_allclose(low + high, 0, atol=0.04)
        assert (np.abs(np.linalg.det(parts["axes"])) > 1e-8).all()
        assert ((parts["taper"] >= 0) & (parts["taper"] <= 1)).all()


def check_all_differ(instances: range) -> None:
    for class_id in range(len(CLASSES)):
        made = {shape(class_id, b, i).tobytes() for b in range(BUCKETS) for i in instances}
        assert len(made) == BUCKETS * len(instances), CLASSES[class_id]


def test_no_two_shapes_are_the_same() -> None:
    check_all_differ(range(2))


@pytest.mark.slow
def test_no_two_of_all_shapes_are_the_same() -> None:
    check_all_differ(range(INSTANCES))
