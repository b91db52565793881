"""COCO's masks as compressed run lengths: the exact mask of a polygon, in some hundred bytes.

Polygons are drawn by pycocotools. Runs are unpacked here: pycocotools leaves pixels that no run covers as
memory was, and holds the GIL.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from pipelines.files.kernels import njit

_FARTHEST = 1e5  # pixels, of a corner of a polygon; pycocotools takes memory for each pixel on the way there
_CORNERS = 3  # of the smallest polygon


def encode_segmentation(segmentation: Any, height: int, width: int) -> bytes | None:
    """Compressed run lengths of a ``segmentation`` of COCO.

    Args:
        segmentation: list of polygons, [x, y, x, y, ...] each, or a dictionary of ``size`` and ``counts``.
        height: of the image, pixels.
        width: of the image, pixels.

    Returns:
        the runs; None where no polygon has three corners.

    Raises:
        ValueError: it is of another form, or of another size than the image; the message says how.
    """
    if isinstance(segmentation, dict):
        return _checked_runs(segmentation, height, width)
    if not isinstance(segmentation, list) or not all(isinstance(polygon, list) for polygon in segmentation):
        raise ValueError("its segmentation is neither a list of polygons nor run lengths")
    for polygon in segmentation:
        for corner in polygon:
            if not isinstance(corner, (int, float)) or not abs(corner) <= _FARTHEST:  # nor NaN
                raise ValueError(f"a corner of its polygon is {str(corner)[:20]}")
    drawn = [polygon for polygon in segmentation if len(polygon) >= 2 * _CORNERS and len(polygon) % 2 == 0]
    if not drawn:
        return None
    parts = coco_mask.frPyObjects(drawn, height, width)
    return bytes((coco_mask.merge(parts) if len(parts) > 1 else parts[0])["counts"])


def encode_mask(mask: np.ndarray) -> bytes:
    """Compressed run lengths of a mask, bool [H, W]."""
    return bytes(coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"])


def decode_masks(runs: np.ndarray, offsets: np.ndarray, height: int, width: int) -> np.ndarray:
    """Masks of checked run lengths.

    Args:
        runs: uint8, those of all masks.
        offsets: int64 [n + 1], where those of each mask begin.
        height: of the image, pixels.
        width: of the image, pixels.

    Returns:
        bool [n, H, W].
    """
    masks = np.zeros((len(offsets) - 1, height, width), bool)
    for mask, start, end in zip(masks, offsets[:-1], offsets[1:], strict=True):
        _fill(runs[start:end], mask)
    return masks


def covered_pixels(runs: bytes) -> int:
    """Pixels that compressed run lengths cover, in and outside the mask; -1 where they are damaged."""
    letters = np.frombuffer(runs, np.uint8)
    counts = np.empty(len(letters), np.int64)
    number = _unpack(letters, counts)
    return -1 if number < 0 else int(counts[:number].sum())


def _checked_runs(segmentation: dict[str, Any], height: int, width: int) -> bytes:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise ValueError(f"its mask has the size {size}, its image [{height}, {width}]")
    if isinstance(counts, str) and counts.isascii():
        runs = counts.encode()
    elif isinstance(counts, list) and all(type(count) is int and count >= 0 for count in counts):
        if sum(counts) != height * width:
            raise ValueError(f"its run lengths cover {sum(counts)} pixels of {height} x {width}")
        runs = bytes(coco_mask.frPyObjects(segmentation, height, width)["counts"])
    else:
        raise ValueError("its run lengths are neither a list of counts nor text")
    if covered_pixels(runs) != height * width:
        raise ValueError(f"its run lengths are damaged: they do not cover {height} x {width} pixels")
    return runs


@njit(cache=True)
def _unpack(letters: np.ndarray, counts: np.ndarray) -> int:
    """Run lengths to ``counts``; returns their number, or -1 where they are damaged.

    A letter holds six bits: five of a count, the lowest first, and one that says that more follow. Counts
    from the fourth on are differences to the one before the last.
    """
    at, number = 0, 0
    while at < len(letters):
        count, shift, more = 0, 0, True
        while more:
            if at >= len(letters) or not 48 <= letters[at] < 112 or shift > 30:
                return -1
            bits = int(letters[at]) - 48
            count |= (bits & 31) << shift
            more = bits & 32 != 0
            at, shift = at + 1, shift + 5
            if not more and bits & 16:
                count -= 1 << shift
        if number > 2:
            count += counts[number - 2]
        if count < 0:
            return -1
        counts[number] = count
        number += 1
    return number


@njit(cache=True, nogil=True)
def _fill(letters: np.ndarray, mask: np.ndarray) -> None:
    """Set the pixels of a mask, all False before: every second run, column by column."""
    counts = np.empty(len(letters), np.int64)
    height, row, column = mask.shape[0], 0, 0
    for number in range(_unpack(letters, counts)):
        left = counts[number]
        while left > 0 and column < mask.shape[1]:
            step = min(left, height - row)
            if number % 2:
                mask[row : row + step, column] = True
            left -= step
            row += step
            if row == height:
                row, column = 0, column + 1
