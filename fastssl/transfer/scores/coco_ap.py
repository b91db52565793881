"""Average precision of boxes and of masks as COCO measures it, by pycocotools.

Lin et al., "Microsoft COCO: common objects in context" (2014), and its evaluation server: greedy matching by
score, the mean over IoU thresholds .50, .55 to .95 and 101 recalls, at most 100 detections per class and
image.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fastssl.transfer.prediction import Prediction
from fastssl.transfer.scores.needed import needed
from fastssl.transfer.task import Evaluator
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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Objects:
    """k objects of one image, labeled or found: a few numbers each, and their masks' runs."""

    boxes: np.ndarray
    """float64 [k, 4], left, top, width, height."""
    classes: np.ndarray
    """int64 [k]."""
    masks: list[dict[str, Any]] | None
    """Run lengths."""
    areas: np.ndarray | None = None
    """float64 [k], of labeled ones."""
    crowd: np.ndarray | None = None
    """bool [k], of labeled ones."""
    scores: np.ndarray | None = None
    """float64 [k], of found ones."""


class CocoAp(Evaluator):
    """``AP``, ``AP50``, ``AP75`` and ``APs``, ``APm``, ``APl`` of boxes; of masks the same as ``mask_AP`` ...

    Small, medium and large objects are told apart at 32^2 and 96^2 pixels of ``Targets.areas``. A crowd takes
    any number of detections and counts for none; so does a difficult object, but for one detection only.
    """

    def __init__(self, class_names: Sequence[str], *, masks: bool = False) -> None:
        self._class_names = tuple(class_names)
        self._masks = masks
        self._sizes: list[tuple[int, int]] = []
        self._labeled: list[_Objects] = []
        self._found: list[_Objects] = []
        self._measured: dict[_Kind, np.ndarray] = {}

    def add(self, prediction: Prediction, targets: Targets) -> None:
        """Take one image in: boxes, and masks where these are measured, as run lengths at once."""
        self._measured = {}
        self._sizes.append((targets.height, targets.width))
        self._labeled.append(_labeled(targets, self._masks))
        self._found.append(
            _Objects(
                boxes=_left_top_width_height(needed(prediction.boxes, "boxes")),
                classes=needed(prediction.classes, "classes"),
                scores=needed(prediction.scores, "scores").astype(np.float64),
                masks=_run_lengths(needed(prediction.masks, "masks")) if self._masks else None,
            )
        )

    def merge(self, other: Self) -> None:
        """Take in the images of another evaluator, behind its own."""
        self._measured = {}
        self._sizes += other._sizes
        self._labeled += other._labeled
        self._found += other._found

    def metrics(self) -> dict[str, float]:
        """Metrics by name, in [0, 1]; one without an object of its size is left out."""
        found = _named(self._precision("bbox"))
        if self._masks:
            found |= {f"mask_{name}": value for name, value in _named(self._precision("segm")).items()}
        return found

    def per_class(self) -> dict[str, dict[str, float]]:
        """The same by class name, of classes with an object that counts."""
        by_kind = {"": self._precision("bbox")}
        if self._masks:
            by_kind["mask_"] = self._precision("segm")
        found: dict[str, dict[str, float]] = {}
        for label, name in enumerate(self._class_names):
            values = {
                mark + metric: value
                for mark, precision in by_kind.items()
                for metric, value in _named(precision[:, :, label : label + 1]).items()
            }
            if values:
                found[name] = values
        return found

    def _precision(self, kind: _Kind) -> np.ndarray:
        """Precision, float64 [10 thresholds, 101 recalls, C classes, 4 sizes]; -1 where nothing counts."""
        if kind in self._measured:
            return self._measured[kind]
        categories = [{"id": label, "name": name} for label, name in enumerate(self._class_names)]
        images = [
            {"id": number, "height": height, "width": width}
            for number, (height, width) in enumerate(self._sizes)
        ]
        with redirect_stdout(io.StringIO()):  # it prints its progress
            truth, found = (
                _coco({"images": images, "categories": categories, "annotations": list(annotations)})
                for annotations in (_annotations(self._labeled, kind), _annotations(self._found, kind))
            )
            evaluation = COCOeval(truth, found, kind)
            evaluation.evaluate()
            evaluation.accumulate()
        self._measured[kind] = evaluation.eval["precision"][..., -1]  # of the last limit, 100 detections
        return self._measured[kind]


def _labeled(targets: Targets, masks: bool) -> _Objects:
    """The labeled objects of an image; a difficult one has an area outside all ranges."""
    boxes = _left_top_width_height(needed(targets.boxes, "boxes"))
    areas = boxes[:, 2] * boxes[:, 3] if targets.areas is None else targets.areas.astype(np.float64)
    if targets.difficult is not None:
        areas = np.where(targets.difficult, _IN_NO_RANGE, areas)
    return _Objects(
        boxes=boxes,
        classes=needed(targets.classes, "classes"),
        areas=areas,
        crowd=np.zeros(len(boxes), bool) if targets.crowd is None else targets.crowd,
        masks=_run_lengths(needed(targets.masks, "masks")) if masks else None,
    )


def _left_top_width_height(boxes: np.ndarray) -> np.ndarray:
    corners = boxes.astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def _run_lengths(masks: np.ndarray) -> list[dict[str, Any]]:
    """Masks, bool [k, H, W], as pycocotools' run lengths."""
    return [coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in masks]


def _annotations(images: Sequence[_Objects], kind: _Kind) -> Iterator[dict[str, Any]]:
    """Objects as entries of a COCO file, numbered from 1: COCOeval takes 0 for none."""
    number = 0
    for image, objects in enumerate(images):
        masks = objects.masks
        areas = objects.areas
        if areas is None:
            areas = np.prod(objects.boxes[:, 2:], axis=1) if kind == "bbox" else coco_mask.area(masks)
        for index, box in enumerate(objects.boxes.tolist()):
            number += 1
            entry = {
                "id": number,
                "image_id": image,
                "category_id": int(objects.classes[index]),
                "area": float(areas[index]),
                "iscrowd": 0 if objects.crowd is None else int(objects.crowd[index]),
                "bbox": box,
            }
            if masks is not None and kind == "segm":
                entry["segmentation"] = masks[index]
            if objects.scores is not None:
                entry["score"] = float(objects.scores[index])
            yield entry


def _coco(contents: dict[str, Any]) -> Any:
    coco = COCO()
    coco.dataset = contents
    coco.createIndex()
    return coco


def _named(precision: np.ndarray) -> dict[str, float]:
    """Metrics of a precision [10, 101, C, 4]: means over what counts."""
    found = {}
    for name, (threshold, size) in _METRICS.items():
        values = precision[slice(None) if threshold is None else threshold, ..., size]
        values = values[values > -1]
        if values.size:
            found[name] = float(values.mean())
    return found
