"""Average precision of boxes as PASCAL VOC measures it.

Everingham, Van Gool, Williams, Winn, Zisserman, "The PASCAL visual object classes (VOC) challenge" (2010), at
the ten IoU thresholds .50 to .95 of detectron2's ``pascal_voc`` evaluator, which the papers use. It differs
from COCO's: a detection is compared with the object of its class that it overlaps most, taken or not; the IoU
must exceed the threshold; precision is read at 11 recalls, or integrated. detectron2 rounds scores to three
decimals and boxes to one, which is not done here.

VOC's files give the first and the last pixel of a box, counted from 1, and its widths are last - first + 1.
``Targets`` has edges (first - 1, last), whose plain IoU is the same number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import torch
from torchvision.ops import box_iou

from fastssl.transfer.network import Prediction
from fastssl.transfer.task import Evaluator, needed
from pipelines.targets import Targets

_THRESHOLDS = np.arange(50, 100, 5) / 100
_AT = {"50": slice(0, 1), "75": slice(5, 6), "": slice(None)}
_IGNORED, _WRONG, _RIGHT = np.int8(0), np.int8(-1), np.int8(1)


class VocAp(Evaluator):
    """``AP50``, ``AP75`` and ``AP`` (the mean over .50 to .95) by the 11 recalls of VOC2007.

    ``AP50_area``, ``AP75_area`` and ``AP_area`` are the areas below the curves, VOC's measure from 2010 on.
    Means over the classes that have an object which counts; difficult objects and crowds count for nothing,
    nor do the detections that overlap them most.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self._class_names = tuple(class_names)
        self._counts = np.zeros(len(self._class_names), np.int64)  # objects that count
        self._scores: list[list[np.ndarray]] = [[] for _ in class_names]
        self._outcomes: list[list[np.ndarray]] = [[] for _ in class_names]

    def add(self, prediction: Prediction, targets: Targets) -> None:
        """Take one image in: of each detection the score, and whether it is right at each threshold."""
        boxes, truth = needed(prediction.boxes, "boxes"), needed(targets.boxes, "boxes")
        classes, labels = needed(prediction.classes, "classes"), needed(targets.classes, "classes")
        scores = needed(prediction.scores, "scores")
        left_out = np.zeros(len(truth), bool)
        for flags in (targets.difficult, targets.crowd):
            left_out |= False if flags is None else flags
        self._counts += np.bincount(labels[~left_out], minlength=len(self._counts))
        for label in np.unique(classes).tolist():
            chosen = np.flatnonzero(classes == label)
            chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
            own = labels == label
            self._scores[label].append(scores[chosen].astype(np.float64))
            self._outcomes[label].append(_outcomes(boxes[chosen], truth[own], left_out[own]))

    def merge(self, other: Self) -> None:
        """Take in the images of another evaluator, behind its own."""
        self._counts += other._counts
        for ours, theirs in ((self._scores, other._scores), (self._outcomes, other._outcomes)):
            for mine, more in zip(ours, theirs, strict=True):
                mine += more

    def metrics(self) -> dict[str, float]:
        """Metrics by name, in [0, 1]; none without an object."""
        of_classes = list(self.per_class().values())
        names = of_classes[0] if of_classes else ()
        return {name: float(np.mean([values[name] for values in of_classes])) for name in names}

    def per_class(self) -> dict[str, dict[str, float]]:
        """The same by class name, of classes with an object that counts."""
        return {
            name: self._of_class(label) for label, name in enumerate(self._class_names) if self._counts[label]
        }

    def _of_class(self, label: int) -> dict[str, float]:
        scores = np.concatenate([np.empty(0), *self._scores[label]])
        outcomes = np.concatenate([np.empty((0, len(_THRESHOLDS)), np.int8), *self._outcomes[label]])
        outcomes = outcomes[np.argsort(-scores, kind="stable")]
        right, wrong = (np.cumsum(outcomes == kind, axis=0) for kind in (_RIGHT, _WRONG))
        recall = right / self._counts[label]
        precision = right / np.maximum(right + wrong, 1)
        found: dict[str, float] = {}
        for mark, measure in (("", _mean_of_11), ("_area", _area)):
            values = _over_thresholds(measure, recall, precision)
            found |= {f"AP{name}{mark}": float(values[part].mean()) for name, part in _AT.items()}
        return found


def _outcomes(boxes: np.ndarray, truth: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """Fates of k detections of a class at each threshold, int8 [k, 10].

    Args:
        boxes: [k, 4], falling in score.
        truth: [n, 4], the objects of the class.
        left_out: bool [n], those that do not count.
    """
    outcomes = np.full((len(boxes), len(_THRESHOLDS)), _WRONG)
    if not len(truth):
        return outcomes
    overlaps = box_iou(*(torch.from_numpy(each.astype(np.float64)) for each in (boxes, truth))).numpy()
    taken = np.zeros((len(truth), len(_THRESHOLDS)), bool)
    for row, best in enumerate(overlaps.argmax(1).tolist()):
        near = overlaps[row, best] > _THRESHOLDS
        if left_out[best]:
            outcomes[row, near] = _IGNORED
        else:
            outcomes[row, near & ~taken[best]] = _RIGHT
            taken[best] |= near
    return outcomes


def _over_thresholds(
    measure: Callable[[np.ndarray, np.ndarray], float], recall: np.ndarray, precision: np.ndarray
) -> np.ndarray:
    return np.array([measure(*each) for each in zip(recall.T, precision.T, strict=True)])


def _mean_of_11(recall: np.ndarray, precision: np.ndarray) -> float:
    """Mean over the recalls 0, .1 ... 1 of the best precision at that recall or a higher one; 0 beyond."""
    points = np.arange(11) / 10 - 1e-9  # a recall of 3/10 is one of 0.3
    return float(np.mean([precision[recall >= point].max(initial=0) for point in points]))


def _area(recall: np.ndarray, precision: np.ndarray) -> float:
    """Area below the curve, each precision raised to the best at a higher recall."""
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.diff(recall, prepend=0) @ best)
