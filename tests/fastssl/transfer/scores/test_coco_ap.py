"""COCO's AP against a plain reference that counts pixels, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings

from fastssl.transfer.scores.coco_ap import CocoAp
from tests.helpers.drawn_objects import (
    CLASSES,
    Picture,
    Thing,
    boxes_only,
    found_boxes,
    pictures,
    prediction_of,
    targets_of,
)

THRESHOLDS, RECALLS = np.linspace(0.5, 0.95, 10), np.linspace(0, 1, 101)
SIZES = {"": (0, 1e10), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}


def overlap(found: Thing, labeled: Thing, masks: bool) -> float:
    """IoU by counting pixels; with a crowd, the share of the detection that lies in it."""
    ours, theirs = (thing.mask if masks else thing.filled for thing in (found, labeled))
    whole = ours if labeled.crowd else ours | theirs
    return float((ours & theirs).sum() / whole.sum())


def plain_precision(
    images: list[Picture], label: int, threshold: float, size: tuple[float, float], masks: bool
) -> np.ndarray | None:
    """Precision at 101 recalls; None without an object that counts."""
    low, high = size
    ranked: list[tuple[float, bool]] = []
    objects = 0  # that count
    for labeled, found in images:
        own = [thing for thing in labeled if thing.label == label]
        counts = [
            not (thing.crowd or thing.difficult) and low <= np.count_nonzero(thing.mask) <= high
            for thing in own
        ]
        objects += int(sum(counts))
        taken: set[int] = set()
        for thing in sorted((each for each in found if each.label == label), key=lambda each: -each.score):
            fits = [
                (counts[index], overlap(thing, other, masks), index)
                for index, other in enumerate(own)
                if index not in taken and overlap(thing, other, masks) >= threshold
            ]
            area = np.count_nonzero(thing.mask if masks else thing.filled)
            if fits:
                right, _, index = max(fits)  # one that counts before one that does not
                if not own[index].crowd:
                    taken.add(index)
                if right:
                    ranked.append((thing.score, True))
            elif low <= area <= high:
                ranked.append((thing.score, False))
    if not objects:
        return None
    ranked.sort(key=lambda pair: -pair[0])
    hits = np.cumsum([hit for _, hit in ranked])
    recall, precision = hits / objects, hits / np.arange(1, len(hits) + 1)
    return np.array([precision[recall >= point].max(initial=0) for point in RECALLS])


def plain_metrics(images: list[Picture], masks: bool) -> dict[str, float]:
    found = {}
    for name, size, thresholds in (
        ("AP", "", THRESHOLDS),
        ("AP50", "", THRESHOLDS[:1]),
        ("AP75", "", THRESHOLDS[5:6]),
        *((f"AP{size}", size, THRESHOLDS) for size in "sml"),
    ):
        curves = [
            plain_precision(images, label, threshold, SIZES[size], masks)
            for label in range(len(CLASSES))
            for threshold in thresholds
        ]
        counted = [curve for curve in curves if curve is not None]
        if counted:
            found[("mask_" if masks else "") + name] = float(np.mean(counted))
    return found


@settings(max_examples=25, deadline=None)
@given(pictures())
def test_it_is_what_a_plain_reference_gives(images: list[Picture]) -> None:
    evaluator = CocoAp(CLASSES, masks=True)
    for labeled, found in images:
        evaluator.add(prediction_of(found), targets_of(labeled))
    expected = plain_metrics(images, masks=False) | plain_metrics(images, masks=True)
    assert evaluator.metrics() == pytest.approx(expected, abs=1e-12)


def test_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    """10 x 10 found in 10 x 20 is an IoU of one half, which reaches .50 and no other threshold."""
    evaluator = CocoAp(CLASSES)
    evaluator.add(found_boxes((0, 0, 10, 10)), boxes_only((0, 0, 10, 20)))
    assert evaluator.metrics() == pytest.approx({"AP": 0.1, "AP50": 1, "AP75": 0, "APs": 0.1})
    assert evaluator.per_class() == {"cat": evaluator.metrics()}
    assert capsys.readouterr() == ("", "")


def test_an_area_is_that_of_the_labels() -> None:
    evaluator = CocoAp(CLASSES)
    box = (0.0, 0.0, 100.0, 100.0)
    evaluator.add(found_boxes(box), boxes_only(box, areas=np.array([2000.0], np.float32)))
    assert set(evaluator.metrics()) == {"AP", "AP50", "AP75", "APm"}


def test_a_crowd_takes_all_and_a_difficult_object_one() -> None:
    far = (150.0, 150.0, 180.0, 180.0)
    twice = ((0.0, 0.0, 40.0, 40.0), (0.0, 0.0, 40.0, 38.0), far)
    for name, precision in (("crowd", 1), ("difficult", 1 / 2)):
        evaluator = CocoAp(CLASSES)
        evaluator.add(found_boxes(*twice), boxes_only(twice[0], far, **{name: np.array([True, False])}))
        assert evaluator.metrics()["AP50"] == pytest.approx(precision)


def test_images_without_objects_or_predictions() -> None:
    evaluator = CocoAp(CLASSES)
    assert evaluator.metrics() == {}
    evaluator.add(found_boxes(), boxes_only())
    evaluator.add(found_boxes((0, 0, 10, 10)), boxes_only())
    assert evaluator.metrics() == {}
    assert evaluator.per_class() == {}
    evaluator.add(found_boxes(), boxes_only((0, 0, 10, 10)))
    assert evaluator.metrics() == {"AP": 0, "AP50": 0, "AP75": 0, "APs": 0}
    evaluator.add(found_boxes((0, 0, 10, 10)), boxes_only((0, 0, 10, 10)))
    # one of two is found, behind a false one of the same score: the recalls 0 to .5 at a precision of 1/2
    assert evaluator.metrics()["AP50"] == pytest.approx(51 / 101 / 2)


def test_a_source_without_masks_is_refused() -> None:
    with pytest.raises(ValueError, match="no masks to measure"):
        CocoAp(CLASSES, masks=True).add(found_boxes(), boxes_only())
