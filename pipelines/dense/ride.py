"""Targets that ride along with their image into a view (``ride``).

Semantics are those of torchvision's ``transforms.v2.functional`` on ``tv_tensors``, crop after resize after
crop, then flip: boxes by their coordinates, clipped; masks and maps by the nearest pixel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pipelines.dense.placement import Placement
from pipelines.targets import IGNORED, Targets


def ride(targets: Targets, placement: Placement) -> Targets:
    """Targets of a view of an image.

    An object is dropped if nothing of its box, or of its mask, is left. Boxes of cropped objects are clipped,
    not fitted to their masks.

    Args:
        targets: of the upright image.
        placement: of the view in it.

    Returns:
        in the view's pixels, with the same kinds of labels. ``areas`` are counted in the masks; without these
        they shrink with the boxes.
    """
    lines, columns = _sources(placement, targets.height, targets.width)
    boxes = None if targets.boxes is None else _placed(targets.boxes, placement, targets)
    masks = None if targets.masks is None else _nearest(targets.masks, lines, columns, False)
    areas = targets.areas
    if areas is not None and masks is not None:
        areas = masks.sum((1, 2), dtype=np.float32)
    elif areas is not None and boxes is not None and targets.boxes is not None:
        areas = areas * _shares(targets.boxes, boxes)
    seg, depth = targets.segmentation, targets.depth
    everything = Targets(
        height=placement.height,
        width=placement.width,
        boxes=None if boxes is None else boxes.astype(np.float32),
        classes=targets.classes,
        areas=areas if areas is None else areas.astype(np.float32),
        difficult=targets.difficult,
        crowd=targets.crowd,
        masks=masks,
        segmentation=None if seg is None else _nearest(seg, lines, columns, IGNORED),
        depth=None if depth is None else _nearest(depth, lines, columns, 0),
    )
    return _without_vanished(everything)


def _placed(boxes: np.ndarray, placement: Placement, image: Targets) -> np.ndarray:
    """Boxes in the view's pixels, clipped to what of the image is in the view: float64 [n, 4]."""
    across = _line(boxes[:, 0::2], image.width, placement.left, placement.box_width, placement.resized_width)
    down = _line(boxes[:, 1::2], image.height, placement.top, placement.box_height, placement.resized_height)
    across = np.clip(across - placement.window_left, 0, placement.width)
    down = np.clip(down - placement.window_top, 0, placement.height)
    if placement.flip:
        across = placement.width - across[:, ::-1]
    return np.stack([across[:, 0], down[:, 0], across[:, 1], down[:, 1]], 1)


def _line(ends: np.ndarray, side: int, begin: int, length: int, resized: int) -> np.ndarray:
    """Ends of objects, [n, 2], in an image's side of ``side`` as ends in the resized box's."""
    low, high = max(begin, 0), min(begin + length, side)
    return (np.clip(ends.astype(np.float64), low, max(low, high)) - begin) * (resized / length)


def _sources(placement: Placement, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of an image that a view's rows and columns are taken from, int64; -1: outside."""
    lines = _source(
        placement.window_top + np.arange(placement.height),
        (placement.top, placement.box_height, placement.resized_height),
        height,
    )
    columns = _source(
        placement.window_left + np.arange(placement.width),
        (placement.left, placement.box_width, placement.resized_width),
        width,
    )
    return lines, columns[::-1] if placement.flip else columns


def _source(positions: np.ndarray, box: tuple[int, int, int], side: int) -> np.ndarray:
    """Places in an image's side of positions in the resized box's, by torch's rule, in its float32."""
    begin, length, resized = box
    scale = np.float32(length) / np.float32(resized)
    places = np.minimum(np.floor(positions.astype(np.float32) * scale).astype(np.int64), length - 1) + begin
    inside = (positions >= 0) & (positions < resized) & (places >= 0) & (places < side)
    return np.where(inside, places, -1)


def _nearest(maps: np.ndarray, lines: np.ndarray, columns: np.ndarray, fill: float) -> np.ndarray:
    """Maps [..., H, W] at lines and columns; ``fill`` outside."""
    taken = maps.take(np.maximum(lines, 0), axis=-2).take(np.maximum(columns, 0), axis=-1)
    taken[..., lines < 0, :] = fill
    taken[..., columns < 0] = fill
    return taken


def _shares(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Area of boxes in a view / in the image."""
    area = (before[:, 2] - before[:, 0]).astype(np.float64) * (before[:, 3] - before[:, 1])
    left = (after[:, 2] - after[:, 0]) * (after[:, 3] - after[:, 1])
    return left / np.where(area > 0, area, 1)


def _without_vanished(targets: Targets) -> Targets:
    """The targets without the objects of which nothing is left."""
    boxes, masks = targets.boxes, targets.masks
    if boxes is None and masks is None:
        return targets
    number = len(boxes) if boxes is not None else len(masks) if masks is not None else 0
    left = np.ones(number, bool)
    if boxes is not None:
        left &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    if masks is not None:
        left &= masks.any((1, 2))
    if left.all():
        return targets
    kept: dict[str, Any] = {
        name: None if getattr(targets, name) is None else getattr(targets, name)[left]
        for name in ("boxes", "classes", "areas", "difficult", "crowd", "masks")
    }
    return replace(targets, **kept)
