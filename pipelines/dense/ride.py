"""Targets that ride along with their image into a view (``ride``).

Semantics are those of torchvision's ``transforms.v2.functional`` on ``tv_tensors``, crop after resize after
crop, then flip: boxes by their coordinates, clipped; masks and maps by the nearest pixel.
"""

from __future__ import annotations

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
    boxes = None if targets.boxes is None else _placed(targets.boxes, placement, targets)
    masks, segmentation, depth = targets.masks, targets.segmentation, targets.depth
    if masks is not None or segmentation is not None or depth is not None:
        lines, columns = _sources(placement, targets.height, targets.width)
        masks = None if masks is None else _nearest_masks(masks, lines, columns)
        segmentation = None if segmentation is None else _nearest(segmentation, lines, columns, IGNORED)
        depth = None if depth is None else _nearest(depth, lines, columns, 0)
    counts = None if masks is None else np.array([np.count_nonzero(mask) for mask in masks], np.float32)
    areas = targets.areas
    if areas is not None and counts is not None:
        areas = counts
    elif areas is not None and boxes is not None and targets.boxes is not None:
        areas = (areas * _shares(targets.boxes, boxes)).astype(np.float32)
    objects: dict[str, Any] = {
        "boxes": None if boxes is None else boxes.astype(np.float32),
        "classes": targets.classes,
        "areas": areas,
        "difficult": targets.difficult,
        "crowd": targets.crowd,
        "masks": masks,
    }
    left = _left(objects["boxes"], counts)
    if left is not None and not left.all():
        objects = {name: None if value is None else value[left] for name, value in objects.items()}
    return Targets(
        height=placement.height,
        width=placement.width,
        segmentation=segmentation,
        depth=depth,
        label=targets.label,
        **objects,
    )


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
    """A map [H, W] at lines and columns; ``fill`` outside."""
    if len(lines) < len(maps):
        taken = maps.take(np.maximum(lines, 0), 0).take(np.maximum(columns, 0), 1)
    else:  # the dearer of the two on fewer lines
        taken = maps.take(np.maximum(columns, 0), 1).take(np.maximum(lines, 0), 0)
    taken[lines < 0] = fill
    taken[:, columns < 0] = fill
    return taken


def _nearest_masks(masks: np.ndarray, lines: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Masks [n, H, W] at lines and columns; only the rectangle around each object is looked up."""
    out = np.zeros((len(masks), len(lines), len(columns)), bool)
    for mask, made in zip(masks, out, strict=True):
        down, across = _inside(lines, mask.any(1)), _inside(columns, mask.any(0))
        made[down, across] = mask.take(lines[down], 0).take(columns[across], 1)
    return out


def _inside(places: np.ndarray, occupied: np.ndarray) -> slice:
    """The positions whose ``places``, which rise or fall, lie between the first and the last occupied."""
    (found,) = occupied.nonzero()
    if not len(found):
        return slice(0, 0)
    (positions,) = ((places >= found[0]) & (places <= found[-1])).nonzero()
    return slice(positions[0], positions[-1] + 1) if len(positions) else slice(0, 0)


def _shares(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Area of boxes in a view / in the image."""
    area = (before[:, 2] - before[:, 0]).astype(np.float64) * (before[:, 3] - before[:, 1])
    left = (after[:, 2] - after[:, 0]) * (after[:, 3] - after[:, 1])
    return left / np.where(area > 0, area, 1)


def _left(boxes: np.ndarray | None, counts: np.ndarray | None) -> np.ndarray | None:
    """Objects of which something is left, bool [n]; None without boxes and masks."""
    by_box = None if boxes is None else (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    if counts is None:
        return by_box
    return counts > 0 if by_box is None else by_box & (counts > 0)
