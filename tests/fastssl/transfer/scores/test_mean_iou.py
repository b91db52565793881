"""mIoU against sets of pixels, and by hand."""

import numpy as np
import pytest

from fastssl.transfer.network import Prediction
from fastssl.transfer.scores.mean_iou import MeanIou
from pipelines.command.errors import UserError
from pipelines.targets import IGNORED, Targets

NAMES = ("road", "sky", "tree", "train")


def add(evaluator: MeanIou, truth: np.ndarray, found: np.ndarray) -> None:
    height, width = truth.shape
    evaluator.add(
        Prediction(segmentation=found.astype(np.uint8)),
        Targets(height=height, width=width, segmentation=truth.astype(np.uint8)),
    )


def test_it_is_what_sets_of_pixels_give() -> None:
    rng = np.random.default_rng(0)
    evaluator = MeanIou(NAMES)
    truth_of: list[set[tuple[int, ...]]] = [set() for _ in NAMES]
    found_of: list[set[tuple[int, ...]]] = [set() for _ in NAMES]
    for image in range(3):
        shape = (7 + image, 11)
        truth = rng.choice([0, 1, 2, IGNORED], shape)  # no train
        found = rng.integers(0, 4, shape)
        add(evaluator, truth, found)
        for place, true in np.ndenumerate(truth):
            if true != IGNORED:
                truth_of[true].add((image, *place))
                found_of[int(found[place])].add((image, *place))
    pairs = list(zip(truth_of, found_of, strict=True))
    expected = {
        name: len(truth & found) / len(truth | found)
        for name, (truth, found) in zip(NAMES, pairs, strict=True)
        if truth
    }
    assert list(expected) == ["road", "sky", "tree"]
    assert evaluator.per_class() == {name: {"IoU": value} for name, value in expected.items()}
    right, counted = (sum(map(len, sets)) for sets in ([t & f for t, f in pairs], truth_of))
    assert evaluator.metrics() == pytest.approx(
        {"mIoU": np.mean(list(expected.values())), "pixel_accuracy": right / counted}
    )


def test_by_hand() -> None:
    """Road 1 of 3, sky 1 of 2; the pixel without a class is nobody's."""
    evaluator = MeanIou(NAMES)
    add(evaluator, np.array([[0, 0, 1, IGNORED]]), np.array([[0, 1, 0, 3]]))
    assert evaluator.metrics() == pytest.approx({"mIoU": (1 / 3 + 0) / 2, "pixel_accuracy": 1 / 3})
    add(evaluator, np.array([[1]]), np.array([[1]]))
    assert evaluator.metrics() == pytest.approx({"mIoU": (1 / 3 + 1 / 3) / 2, "pixel_accuracy": 1 / 2})


def test_a_prediction_of_no_class_is_wrong() -> None:
    evaluator = MeanIou(NAMES)
    add(evaluator, np.array([[0, 0]]), np.array([[0, IGNORED]]))
    assert evaluator.metrics() == {"mIoU": 0.5, "pixel_accuracy": 0.5}


def test_no_pixel_gives_no_metric() -> None:
    evaluator = MeanIou(NAMES)
    assert evaluator.metrics() == {}
    add(evaluator, np.full((2, 2), IGNORED), np.zeros((2, 2)))
    assert evaluator.metrics() == {}


def test_a_class_without_a_name_is_the_data_s_mistake() -> None:
    with pytest.raises(UserError, match=r"a pixel is labeled 4, and there are 4 classes: mend the label"):
        add(MeanIou(NAMES), np.array([[4]]), np.array([[0]]))
