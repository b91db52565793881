"""Crop, resize and mirror in one pass: antialiased bilinear resampling in fixed point.

The weights are those of PyTorch's ``interpolate(mode="bilinear", antialias=True)``: a triangle as wide as
the scale, at least 1, normalized over the taps inside the box. Only the pixels of the box are read: source
rows are split into their three colors as they are first needed, and wait in a ring that holds as many
rows as the vertical filter has taps. The horizontal filter, the dearer one, runs on whichever side has
fewer rows.
"""

from __future__ import annotations

import math

import numpy as np

from pipelines.files.kernels import njit
from pipelines.ops.fixed_point import LANES, at, blend_block, multiply_high, padded
from pipelines.ops.resample_plan import MOST_NARROW_TAPS

_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)
_SIXTEEN, _ROUND = np.uint32(16), np.uint32(1 << 15)


@njit(cache=True, nogil=True)
def resample(image, row, plan, words, plane_words):
    """Resize a view's box of an image to a square, in three planes.

    Args:
        image: uint8 [H, W, 3], C-contiguous; black outside its borders.
        row: of VIEW_PARAMETERS; gives the box and the flip.
        plan: of the box's height and width; gives the square's side, S.
        words: uint16 vector of planes and scratch. The output is at plane * plane_words + y * S + x; each
            plane must be followed by 32 words that may be overwritten.
        plane_words: from one plane to the next.
    """
    top, left = np.int64(row.top), np.int64(row.left)
    pixels = image.reshape(-1)
    fill_taps(plan, row.flip != 0, words)
    loaded = 0
    for y in range(plan.height):
        out = y * plan.width
        loaded = resample_row(pixels, image.shape, top, left, plan, y, loaded, words, out, plane_words)


@njit(cache=True, nogil=True)
def fill_taps(plan, flip, words):
    """Write the filters of a plan into its scratch, mirrored left to right if ``flip``."""
    floats = words[plan.sums :].view(np.float32)
    _fill_taps(
        (plan.box_width, plan.resized_width, plan.taps_x),
        (plan.begin_x, plan.width, flip, plan.skip_x),
        (plan.first_x, plan.weights_x, plan.wide),
        words,
        floats,
    )
    _fill_taps(
        (plan.box_height, plan.resized_height, plan.taps_y),
        (plan.begin_y, plan.height, False, plan.skip_y),
        (plan.first_y, plan.weights_y, plan.high),
        words,
        floats,
    )


@njit(cache=True, nogil=True)
def resample_row(pixels, shape, top, left, plan, y, loaded, words, out, plane_words):
    """One row of the output, in three planes; rows are asked for in order.

    Args:
        pixels: the image, uint8 [H * W * 3].
        shape: of the image, (H, W, 3).
        top, left: of the box in the image.
        plan: its filters are filled in.
        y: the row.
        loaded: returned for the row before; 0 for the first row.
        words: uint16 vector of output and scratch.
        out: word of the output's first plane; 32 words behind each plane may be overwritten.
        plane_words: from one plane to the next.

    Returns:
        the source rows that are loaded.
    """
    start = np.int64(words[at(plan.first_y + y)])
    while loaded < start + plan.taps_y:
        slot = plan.ring + loaded % plan.taps_y * plan.ring_row
        source = plan.row if plan.columns_first else slot
        line, column = top + plan.skip_y + loaded, left + plan.skip_x
        _load_row(pixels, shape, line, column, plan.columns, words, source, plan.row_plane)
        if plan.columns_first:
            _blend_columns(plan, words, source, slot, plan.ring_plane)
        loaded += 1
    sums = words[plan.sums :].view(np.uint32)
    if plan.columns_first:
        for plane in range(3):
            skip = plane * plan.ring_plane
            _blend_rows(plan, y, start, words, sums, skip, out + plane * plane_words, plan.width)
    else:
        _blend_rows(plan, y, start, words, sums, 0, plan.row, 3 * plan.row_plane - LANES)
        _blend_columns(plan, words, plan.row, out, plane_words)
    return loaded


@njit(cache=True, inline="always")
def mirrored(position, size, flip):
    """A position in a line of ``size``, counted from the far end if ``flip``."""
    return size - 1 - position if flip else position


@njit(cache=True)
def _fill_taps(line, window, place, words, scratch):
    """Per output position, its first source pixel and the weights of this and the following ones.

    Args:
        line: pixels before and after, and taps of ``_tap_count``.
        window: the first position, how many there are, whether they are counted from the far end, and the
            source pixels to skip.
        place: word where the first pixels are written, [count], positions beyond the window repeating the
            last; word where the weights are written, [taps, count], each position's adding up to 65536, but
            a single weight of 65536 is 65535; count.
        words: uint16 vector.
        scratch: float32, at least [3 * count].
    """
    (source, resized, taps), (begin, size, mirror, skip), (first, weights, count) = line, window, place
    scale = source / resized
    support = max(1.0, scale)
    slope = np.float32(1 / support)
    offset, total, running = scratch[:count], scratch[count : 2 * count], scratch[2 * count : 3 * count]
    for x in range(count):
        position = min(x, size - 1)
        center = (begin + mirrored(position, size, mirror) + 0.5) * scale
        pixel = min(max(math.floor(center - support + 0.5), 0), source - taps)
        words[at(first + x)] = pixel - skip
        offset[x] = pixel + 0.5 - center
        total[x] = running[x] = _ZERO
    for tap in range(taps):
        for x in range(count):
            total[x] += max(_ONE - abs(offset[x] + np.float32(tap)) * slope, _ZERO)
    for x in range(count):
        total[x] = np.float32(65536) / total[x]
    for tap in range(taps):
        out = weights + tap * count
        for x in range(count):
            # Rounding the running sum, not the weights, makes them add up exactly.
            before = running[x]
            after = before + total[x] * max(_ONE - abs(offset[x] + np.float32(tap)) * slope, _ZERO)
            running[x] = after
            words[at(out + x)] = min(np.int32(after + _HALF) - np.int32(before + _HALF), 65535)


@njit(cache=True)
def _load_row(pixels, shape, y, left, width, words, row, plane_words):
    """Columns [left, left + width) of an image's row as three planes of fixed-point values."""
    rows, columns, _ = shape
    begin, end = max(left, 0), min(left + width, columns)
    count = end - begin
    inside = 0 <= y < rows and count > 0
    if not inside or count < width:
        for x in range(3 * plane_words):
            words[at(row + x)] = 0
        if not inside:
            return
    else:  # whole vectors: what follows the box in memory is loaded too, and has no weight
        count = min(padded(width), (rows - y) * columns - begin)
    source = 3 * (y * columns + begin)
    red = row + begin - left
    green, blue = red + plane_words, red + 2 * plane_words
    for x in range(count):
        words[at(red + x)] = np.uint16(pixels[at(source + 3 * x)]) << np.uint16(7)
        words[at(green + x)] = np.uint16(pixels[at(source + 3 * x + 1)]) << np.uint16(7)
        words[at(blue + x)] = np.uint16(pixels[at(source + 3 * x + 2)]) << np.uint16(7)


@njit(cache=True)
def _blend_rows(plan, y, start, words, sums, skip, out, count):
    """The vertical filter of output row y: ``count`` words, from word ``skip`` of each row of the ring."""
    taps, weights = plan.taps_y, plan.weights_y + y
    if taps > MOST_NARROW_TAPS:
        for x in range(count):
            sums[x] = _ROUND
        for tap in range(taps):
            row = plan.ring + (start + tap) % taps * plan.ring_row + skip
            weight = np.uint32(words[at(weights + tap * plan.high)])
            for x in range(count):
                sums[x] += np.uint32(np.uint32(words[at(row + x)]) * weight)
        for x in range(count):
            words[at(out + x)] = sums[x] >> _SIXTEEN
        return
    ring = plan.ring + skip
    for tap in range(0, taps, 4):
        _blend_four(
            words,
            out,
            count,
            ring + (start + tap) % taps * plan.ring_row,
            ring + (start + tap + 1) % taps * plan.ring_row,
            ring + (start + tap + 2) % taps * plan.ring_row,
            ring + (start + tap + 3) % taps * plan.ring_row,
            weights + tap * plan.high,
            plan.high,
            taps - tap,
            np.uint16(0 if tap > 0 else taps // 2),
            np.uint16(0xFFFF if tap > 0 else 0),
        )


@njit(cache=True)
def _blend_four(words, out, count, a, b, c, d, weights, stride, taps, bias, keep):
    """``out = bias + (out & keep) +`` the weighted sum of up to four rows; a, b, c and d always exist."""
    weight_a = words[at(weights)]
    weight_b = words[at(weights + stride)] if taps > 1 else np.uint16(0)
    weight_c = words[at(weights + 2 * stride)] if taps > 2 else np.uint16(0)
    weight_d = words[at(weights + 3 * stride)] if taps > 3 else np.uint16(0)
    for x in range(count):
        value = np.uint16(bias + np.uint16(words[at(out + x)] & keep))
        value = np.uint16(value + multiply_high(words[at(a + x)], weight_a))
        value = np.uint16(value + multiply_high(words[at(b + x)], weight_b))
        value = np.uint16(value + multiply_high(words[at(c + x)], weight_c))
        words[at(out + x)] = np.uint16(value + multiply_high(words[at(d + x)], weight_d))


@njit(cache=True)
def _blend_columns(plan, words, row, out, out_plane):
    """The horizontal filter of the three planes of ``row``."""
    if plan.step == 0:
        _blend_columns_singly(plan, words, row, out, out_plane)
        return
    for block in range((plan.width + plan.step - 1) // plan.step):
        x = block * plan.step
        last = min(x + plan.step, plan.width) - 1
        base = min(words[at(plan.first_x + x)], words[at(plan.first_x + last)])  # mirrored: the last
        blend_block(
            words,
            row,
            plan.row_plane,
            base,
            plan.first_x + x,
            plan.weights_x + x,
            plan.wide,
            plan.taps_x,
            out + x,
            out_plane,
        )


@njit(cache=True)
def _blend_columns_singly(plan, words, row, out, out_plane):
    """The same for any scale and on any processor, with exact sums."""
    for x in range(plan.width):
        red = row + np.int64(words[at(plan.first_x + x)])
        green, blue = red + plan.row_plane, red + 2 * plan.row_plane
        red_sum = green_sum = blue_sum = _ROUND
        for tap in range(plan.taps_x):
            weight = np.uint32(words[at(plan.weights_x + tap * plan.wide + x)])
            red_sum += np.uint32(np.uint32(words[at(red + tap)]) * weight)
            green_sum += np.uint32(np.uint32(words[at(green + tap)]) * weight)
            blue_sum += np.uint32(np.uint32(words[at(blue + tap)]) * weight)
        words[at(out + x)] = red_sum >> _SIXTEEN
        words[at(out + out_plane + x)] = green_sum >> _SIXTEEN
        words[at(out + 2 * out_plane + x)] = blue_sum >> _SIXTEEN
