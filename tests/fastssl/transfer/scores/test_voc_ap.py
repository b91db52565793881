"""VOC's AP against the development kit's steps in pixels counted from 1, and by hand."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings

from fastssl.transfer.scores.voc_ap import VocAp
from tests.helpers.drawn_objects import (
    CLASSES,
    Picture,
    boxes_only,
    found_boxes,
    pictures,
    prediction_of,
    targets_of,
)

Pixels = tuple[int, int, int, int]


def inclusive(box: Pixels) -> Pixels:
    """First and last pixels, from 1, as VOC's files have them."""
    left, top, right, bottom = box
    return left + 1, top + 1, right, bottom


def voc_overlap(first: Pixels, second: Pixels) -> Fraction:
    """The development kit's, whose widths are last - first + 1."""
    width = min(first[2], second[2]) - max(first[0], second[0]) + 1
    height = min(first[3], second[3]) - max(first[1], second[1]) + 1
    if width <= 0 or height <= 0:
        return Fraction(0)
    areas = sum((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (first, second))
    return Fraction(width * height, areas - width * height)


def plain_ap(images: list[Picture], label: int, percent: int) -> tuple[float, float] | None:
    """AP by 11 points, and by area, of a class; all detections of all images in one list, as VOC has it."""
    objects = [[thing for thing in labeled if thing.label == label] for labeled, _ in images]
    counted = sum(not (thing.difficult or thing.crowd) for own in objects for thing in own)
    if not counted:
        return None
    ranked = [(thing, image) for image, (_, found) in enumerate(images) for thing in found]
    ranked = sorted((pair for pair in ranked if pair[0].label == label), key=lambda pair: -pair[0].score)
    taken: set[tuple[int, int]] = set()
    right = wrong = 0
    points: list[tuple[Fraction, Fraction]] = []  # recall, precision
    for thing, image in ranked:
        best, number = Fraction(-1), -1
        for index, other in enumerate(objects[image]):
            shared = voc_overlap(inclusive(thing.box), inclusive(other.box))
            if shared > best:
                best, number = shared, index
        if best > Fraction(percent, 100):
            if objects[image][number].difficult or objects[image][number].crowd:
                continue
            right += (image, number) not in taken
            wrong += (image, number) in taken
            taken.add((image, number))
        else:
            wrong += 1
        points.append((Fraction(right, counted), Fraction(right, right + wrong)))
    eleven = [max((p for r, p in points if r >= Fraction(k, 10)), default=Fraction(0)) for k in range(11)]
    area, before = Fraction(0), Fraction(0)
    for index, (recall, _) in enumerate(points):
        area += (recall - before) * max(p for _, p in points[index:])
        before = recall
    return float(sum(eleven) / 11), float(area)


@settings(max_examples=100, deadline=None)
@given(pictures())
def test_it_is_what_the_development_kit_gives(images: list[Picture]) -> None:
    evaluator = VocAp(CLASSES)
    for labeled, found in images:
        evaluator.add(prediction_of(found), targets_of(labeled))
    expected: dict[str, list[tuple[float, float]]] = {"AP": [], "AP50": [], "AP75": []}
    for label in range(len(CLASSES)):
        for percent in range(50, 100, 5):
            pair = plain_ap(images, label, percent)
            if pair is not None:
                expected["AP"].append(pair)
                expected.get(f"AP{percent}", []).append(pair)
    means = {name: np.mean(pairs, axis=0) for name, pairs in expected.items() if pairs}
    flat = {name: mean[0] for name, mean in means.items()}
    flat |= {f"{name}_area": mean[1] for name, mean in means.items()}
    assert evaluator.metrics() == pytest.approx(flat, abs=1e-12)


def test_an_overlap_must_exceed_its_threshold() -> None:
    """10 x 10 in 10 x 20 is one half: not above .50; in 10 x 19, above .50 alone."""
    for height, ap50, ap in ((20, 0, 0), (19, 1, 0.1)):
        evaluator = VocAp(CLASSES)
        evaluator.add(found_boxes((0, 0, 10, 10)), boxes_only((0, 0, 10, height)))
        assert evaluator.metrics() == pytest.approx(
            {"AP50": ap50, "AP75": 0, "AP": ap, "AP50_area": ap50, "AP75_area": 0, "AP_area": ap}
        )


def test_eleven_points_and_the_area_by_hand() -> None:
    """The first of two objects at precision 1, the second at 2/3: six recalls of 11, half the area."""
    evaluator = VocAp(CLASSES)
    boxes = ((0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0))
    evaluator.add(found_boxes(boxes[0], (80, 80, 90, 90), boxes[1]), boxes_only(*boxes))
    metrics = evaluator.metrics()
    assert metrics["AP50"] == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert metrics["AP50_area"] == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    assert list(evaluator.per_class()) == ["cat"]


def test_a_second_detection_of_an_object_is_wrong_though_another_is_free() -> None:
    """Unlike COCO's, which would give it the free one."""
    evaluator = VocAp(CLASSES)
    evaluator.add(found_boxes((0, 0, 20, 20), (0, 0, 20, 20)), boxes_only((0, 0, 20, 20), (0, 5, 20, 25)))
    assert evaluator.metrics()["AP50_area"] == pytest.approx(1 / 2)


def test_what_is_difficult_counts_for_nothing() -> None:
    evaluator = VocAp(CLASSES)
    hard, easy = (0.0, 0.0, 20.0, 20.0), (50.0, 50.0, 60.0, 60.0)
    evaluator.add(found_boxes(hard, hard, easy), boxes_only(hard, easy, difficult=np.array([True, False])))
    assert evaluator.metrics()["AP"] == pytest.approx(1)
    alone = VocAp(CLASSES)
    alone.add(found_boxes(hard), boxes_only(hard, difficult=np.array([True])))
    assert alone.metrics() == {}


def test_images_without_objects_or_predictions() -> None:
    evaluator = VocAp(CLASSES)
    assert evaluator.metrics() == {}
    evaluator.add(found_boxes(), boxes_only())
    evaluator.add(found_boxes((0, 0, 10, 10)), boxes_only())
    assert evaluator.metrics() == {}
    evaluator.add(found_boxes(), boxes_only((0, 0, 10, 10)))
    assert set(evaluator.metrics().values()) == {0}
    evaluator.add(found_boxes((0, 0, 10, 10), best=0.95), boxes_only((0, 0, 10, 10)))
    assert evaluator.metrics()["AP50"] == pytest.approx(6 / 11)
