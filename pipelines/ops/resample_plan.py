"""Layout of the scratch that ``resample`` works in, and how its filters run."""

from __future__ import annotations

import math
from typing import NamedTuple

from pipelines.files.kernels import njit
from pipelines.ops.fixed_point import BLOCK, LANES, WINDOW, padded

MOST_NARROW_TAPS = 32  # beyond, what each 16-bit product loses could add up to more than a quarter level


class ResamplePlan(NamedTuple):
    """Layout of the vector of words, and how the filters run."""

    height: int
    """Height of the output, pixels."""
    width: int
    begin_y: int
    """Row of the resized box that is the output's first."""
    begin_x: int
    resized_height: int
    """Height of the whole box once resized, pixels."""
    resized_width: int
    box_height: int
    box_width: int
    skip_y: int
    """Rows of the box above the first that is needed."""
    skip_x: int
    """Columns of the box left of the first that is needed."""
    columns: int
    """Columns of the box that are needed."""
    taps_x: int
    taps_y: int
    step: int
    """Outputs of one ``blend_block``; 0: singly."""
    columns_first: bool
    first_x: int
    """[wide]: the first source column of each output, from ``skip_x`` on."""
    first_y: int
    """[high]: the first source row of each output, from ``skip_y`` on."""
    weights_x: int
    """[taps_x, wide]."""
    weights_y: int
    """[taps_y, high]."""
    wide: int
    high: int
    row: int
    """One row of three planes of the columns that are needed."""
    row_plane: int
    ring: int
    """[taps_y] rows of three planes, as wide as ``row`` or as the output."""
    ring_row: int
    ring_plane: int
    sums: int
    """One row of uint32, also the float32 scratch of the weights."""
    end: int


@njit(cache=True)
def plan(height, width, size, start):
    """Lay out the scratch for resizing a box of height x width to size x size, from word ``start`` on.

    The scratch ends before word ``.end``.
    """
    return plan_window((height, width), (size, size), (0, 0), (size, size), start)


@njit(cache=True)
def plan_window(box, resized, begin, shape, start):
    """Lay out the scratch for a window of a resized box.

    Args:
        box: height and width, pixels; likewise all others.
        resized: size that the box is resized to.
        begin: first row and column of the window in the resized box.
        shape: of the window, which lies within the resized box.
        start: first word of the scratch, which ends before word ``.end``.
    """
    wide, high = padded(shape[1]), padded(shape[0])
    taps_x, taps_y = _tap_count(box[1], resized[1]), _tap_count(box[0], resized[0])
    skip_x = _first_pixel(box[1], resized[1], taps_x, begin[1])
    skip_y = _first_pixel(box[0], resized[0], taps_y, begin[0])
    columns = _first_pixel(box[1], resized[1], taps_x, begin[1] + shape[1] - 1) + taps_x - skip_x
    row_plane = padded(columns) + LANES
    columns_first = box[0] <= resized[0]
    ring_plane = wide + LANES if columns_first else row_plane
    row_words, ring_row = 3 * row_plane + 2 * LANES, 3 * ring_plane + 2 * LANES
    first_x = start
    first_y = first_x + wide
    weights_x = first_y + high
    weights_y = weights_x + taps_x * wide
    row = weights_y + taps_y * high
    ring = row + row_words
    sums = ring + taps_y * ring_row
    return ResamplePlan(
        shape[0],
        shape[1],
        begin[0],
        begin[1],
        resized[0],
        resized[1],
        box[0],
        box[1],
        skip_y,
        skip_x,
        columns,
        taps_x,
        taps_y,
        _block_step(box[1] / resized[1], taps_x),
        columns_first,
        first_x,
        first_y,
        weights_x,
        weights_y,
        wide,
        high,
        row,
        row_plane,
        ring,
        ring_row,
        ring_plane,
        sums,
        sums + max(2 * ring_row, 6 * max(wide, high)),
    )


@njit(cache=True)
def _tap_count(source: int, size: int) -> int:
    """The most source pixels under the triangle of one output pixel."""
    return min(source, math.ceil(2 * max(1.0, source / size)))


@njit(cache=True)
def _first_pixel(source: int, size: int, taps: int, position: int) -> int:
    """The first source pixel of a line of ``source`` under the triangle of a position in ``size``."""
    scale = source / size
    return min(max(math.floor((position + 0.5) * scale - max(1.0, scale) + 0.5), 0), source - taps)


@njit(cache=True)
def _block_step(scale: float, taps: int) -> int:
    """Number of valid outputs of one ``blend_block``: their words lie in its window. 0: do without."""
    if taps > min(MOST_NARROW_TAPS, WINDOW):
        return 0
    return min(BLOCK, math.floor((WINDOW - taps) / scale) + 1)
