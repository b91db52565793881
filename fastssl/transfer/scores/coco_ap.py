"""Average precision of boxes and of masks as COCO measures it, by pycocotools.

Lin et al., "Microsoft COCO: common objects in context" (2014), and its evaluation server: greedy matching by
score, the mean over IoU thresholds .50, .55 to .95 and 101 recalls, at most 100 detections per class and
image.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any, Literal, Self

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fastssl.transfer.network import Prediction
from fastssl.transfer.task import Evaluator, needed
from pipelines.targets import Targets

_Kind = Literal["bbox", "segm"]
# index of the IoU threshold, None for all; index of the size: all, small, medium, large
_METRICS: dict[str, tuple[int | None, int]] = {
    "AP": (None, 0),
    "AP50": (0, 0),
    "AP75": (5, 0),
    "APs": (None, 1),
    "APm": (None, 2),
    "APl": (None, 3),
}
_IN_NO_RANGE = float("inf")  # an area outside all ranges: COCOeval ignores such an object


class CocoAp(Evaluator):
    """``AP``, ``AP50``, ``AP75`` and ``APs``, ``APm``, ``APl`` of boxes; of masks the same as ``mask_AP`` ...

    Small, medium and large objects are told apart at 32^2 and 96^2 pixels of ``Targets.areas``. A crowd takes
    any number of detections and counts for none; so does a difficult object, but for one detection only.
    """

    def __init__(self, class_names: Sequence[str], *, masks: bool = False) -> None:
        self._class_names = tuple(class_names)
        self._masks = masks
        self._images: list[dict[str, int]] = []
        self._labeled: list[dict[str, Any]] = []  # entries of a COCO file without their ids, as the images
        self._found: list[dict[str, Any]] = []
        self._measured: dict[_Kind, np.ndarray] = {}

    def add(self, prediction: Prediction, targets: Targets) -> None:
        """Take one image in: boxes, and masks where these are measured, as run lengths at once."""
        boxes = _left_top_width_height(needed(targets.boxes, "boxes"))
        areas = np.prod(boxes[:, 2:], axis=1) if targets.areas is None else targets.areas.astype(np.float64)
        if targets.difficult is not None:
            areas = np.where(targets.difficult, _IN_NO_RANGE, areas)
        self._labeled += self._entries(
            targets.masks,
            bbox=boxes,
            category_id=needed(targets.classes, "classes"),
            area=areas,
            iscrowd=np.zeros(len(boxes), int) if targets.crowd is None else targets.crowd.astype(int),
        )
        boxes = _left_top_width_height(needed(prediction.boxes, "boxes"))
        self._found += self._entries(
            prediction.masks,
            bbox=boxes,
            category_id=needed(prediction.classes, "classes"),
            area=np.prod(boxes[:, 2:], axis=1),
            score=needed(prediction.scores, "scores"),
        )
        self._images.append({"height": targets.height, "width": targets.width})
        self._measured = {}

    def _entries(self, masks: np.ndarray | None, **columns: np.ndarray) -> list[dict[str, Any]]:
        """k objects of the next image; of each column [k, ...] every one has its row."""
        columns = {"image_id": np.full(len(columns["bbox"]), len(self._images)), **columns}
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        entries = [dict(zip(columns, row, strict=True)) for row in rows]
        if self._masks:
            for entry, mask in zip(entries, needed(masks, "masks"), strict=True):
                entry["segmentation"] = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        return entries

    def merge(self, other: Self) -> None:
        """Take in the images of another evaluator, behind its own."""
        before = len(self._images)
        self._images += other._images
        for ours, theirs in ((self._labeled, other._labeled), (self._found, other._found)):
            ours += [entry | {"image_id": before + entry["image_id"]} for entry in theirs]
        self._measured = {}

    def metrics(self) -> dict[str, float]:
        """Metrics by name, in [0, 1]; one without an object of its size is left out."""
        return self._of_classes(slice(None))

    def per_class(self) -> dict[str, dict[str, float]]:
        """The same by class name, of classes with an object that counts."""
        found = {
            name: self._of_classes(slice(label, label + 1)) for label, name in enumerate(self._class_names)
        }
        return {name: values for name, values in found.items() if values}

    def _of_classes(self, classes: slice) -> dict[str, float]:
        found = _named(self._precision("bbox")[:, :, classes])
        if self._masks:
            masks = _named(self._precision("segm")[:, :, classes])
            found |= {f"mask_{name}": value for name, value in masks.items()}
        return found

    def _precision(self, kind: _Kind) -> np.ndarray:
        """Precision, float64 [10 thresholds, 101 recalls, C classes, 4 sizes]; -1 where nothing counts."""
        if kind not in self._measured:
            found = self._found
            if kind == "segm":
                found = [entry | {"area": float(coco_mask.area(entry["segmentation"]))} for entry in found]
            with redirect_stdout(io.StringIO()):  # it prints its progress
                evaluation = COCOeval(self._coco(self._labeled), self._coco(found), kind)
                evaluation.evaluate()
                evaluation.accumulate()
            self._measured[kind] = evaluation.eval["precision"][..., -1]  # of the last limit, 100 detections
        return self._measured[kind]

    def _coco(self, objects: list[dict[str, Any]]) -> COCO:
        coco = COCO()
        coco.dataset = {
            "images": [{"id": number, **image} for number, image in enumerate(self._images)],
            "categories": [{"id": label, "name": name} for label, name in enumerate(self._class_names)],
            # numbered from 1: COCOeval takes 0 for none
            "annotations": [{"id": number, **entry} for number, entry in enumerate(objects, start=1)],
        }
        coco.createIndex()
        return coco


def _left_top_width_height(boxes: np.ndarray) -> np.ndarray:
    corners = boxes.astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def _named(precision: np.ndarray) -> dict[str, float]:
    """Metrics of a precision [10, 101, C, 4]: means over what counts."""
    found = {}
    for name, (threshold, size) in _METRICS.items():
        values = precision[slice(None) if threshold is None else threshold, ..., size]
        values = values[values > -1]
        if values.size:
            found[name] = float(values.mean())
    return found
