"""First pass of the GPU renderer: crop, resize, mirror, and the jitter up to contrast.

A pixel of a view is a sum over all source pixels under its filter, rows and columns at once. With the
2 to 4 taps an axis of usual crops this takes hardly more operations than one axis after the other, needs no
intermediate image, and overlapping reads hit the caches. Places are whole numbers of 1/(2 SIZE) source
pixels, so that weights are those of PyTorch's ``interpolate(mode="bilinear", antialias=True)`` in exact
arithmetic: a triangle as wide as the scale, at least 1, normalised over the taps inside the box.
"""

from __future__ import annotations

import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]

from pipelines.render.gpu_color import finish, grey_of, jitter, stage, to_grey
from pipelines.render.gpu_table import FLIP, HEIGHT, LEFT, ROW_WORDS, SLOT, SPLIT, TOP, WIDTH


@triton.jit(
    do_not_specialize=["num_images"],
    do_not_specialize_on_alignment=["pixels", "offsets", "heights", "widths"],
)
def resample_views(  # type: ignore[no-untyped-def]
    pixels,
    offsets,
    heights,
    widths,
    num_images,
    rows,
    staged,
    partial_sums,
    out,
    SIZE: tl.constexpr,
    TILE_Y: tl.constexpr,
    TILE_X: tl.constexpr,
    LAB: tl.constexpr,
):
    """One tile of one view: finished where nothing else is to be done, else staged.

    Args:
        pixels, offsets, heights, widths: of Images; view v is of image v modulo ``num_images``.
        rows: of LaunchTable.
        staged: uint16 [slots, SIZE, SIZE, 3].
        partial_sums: float32 [slots, tiles], written where contrast follows: the sum of a tile's grey.
        out: [V, SIZE, SIZE, 3].
        SIZE: side of a view; TILE_Y, TILE_X: of a tile, powers of 2.
        LAB: whether views are in L*a*b*.
    """
    TILES_X: tl.constexpr = (SIZE + TILE_X - 1) // TILE_X
    TILES: tl.constexpr = (SIZE + TILE_Y - 1) // TILE_Y * TILES_X
    view = tl.program_id(0) // TILES
    tile = tl.program_id(0) % TILES
    row = rows + view * ROW_WORDS
    y = tile // TILES_X * TILE_Y + tl.arange(0, TILE_Y)
    x = tile % TILES_X * TILE_X + tl.arange(0, TILE_X)
    y, x = tl.broadcast(y[:, None], x[None, :])  # at once, so that all that follows has one layout
    inside = (y < SIZE) & (x < SIZE)

    source = view % num_images
    image = pixels + tl.load(offsets + source)
    red, green, blue = _resample(image, tl.load(heights + source), tl.load(widths + source), row, y, x, SIZE)
    split = tl.load(row + SPLIT)
    red, green, blue = jitter(red, green, blue, row, 0, split, 0.0)
    slot = tl.load(row + SLOT)
    if split < 4:
        grey = tl.where(inside, grey_of(red, green, blue), 0.0)
        tl.store(partial_sums + slot * TILES + tile, tl.sum(grey))
    else:
        red, green, blue = to_grey(red, green, blue, row)
    if slot >= 0:
        stage(red, green, blue, staged, slot, y * SIZE + x, inside, SIZE)
    else:
        finish(red, green, blue, row, out, view, y, x, inside, SIZE, LAB)


@triton.jit
def _resample(image, image_height, image_width, row, y, x, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Red, green and blue in [0, WHITE] of a view at rows ``y`` and columns ``x``, all of one shape."""
    y, x = tl.minimum(y, SIZE - 1), tl.minimum(x, SIZE - 1)
    x = tl.where(tl.load(row + FLIP) != 0, SIZE - 1 - x, x)
    top, height = tl.load(row + TOP), tl.load(row + HEIGHT)
    left, width = tl.load(row + LEFT), tl.load(row + WIDTH)
    source_y, offset_y = _first_tap(y, top, height, SIZE)
    first_x, offset_x = _first_tap(x, left, width, SIZE)
    slope_y, slope_x = 0.5 / tl.maximum(height, SIZE), 0.5 / tl.maximum(width, SIZE)
    low_y, high_y = _overlap(top, height, image_height)
    low_x, high_x = _overlap(left, width, image_width)
    taps_x = _tap_count(width, SIZE)

    total_y, total_x = tl.zeros_like(y).to(tl.float32), tl.zeros_like(x).to(tl.float32)
    source_x = first_x
    for _ in range(taps_x):
        total_x += tl.where(source_x < left + width, _weight(source_x, offset_x, slope_x, SIZE), 0.0)
        source_x += 1
    red, green, blue = tl.zeros_like(total_x), tl.zeros_like(total_x), tl.zeros_like(total_x)
    for _ in range(_tap_count(height, SIZE)):
        weight_y = _weight(source_y, offset_y, slope_y, SIZE)
        total_y += tl.where(source_y < top + height, weight_y, 0.0)
        inside_y = tl.minimum(tl.maximum(source_y, low_y), high_y)
        weight_y = tl.where(source_y == inside_y, weight_y, 0.0)
        line = image + inside_y * (3 * image_width)
        source_x = first_x
        for _ in range(taps_x):
            weight_x = _weight(source_x, offset_x, slope_x, SIZE)
            inside_x = tl.minimum(tl.maximum(source_x, low_x), high_x)
            weight = weight_y * tl.where(source_x == inside_x, weight_x, 0.0)
            address = line + 3 * inside_x
            red += weight * tl.load(address).to(tl.float32)
            green += weight * tl.load(address + 1).to(tl.float32)
            blue += weight * tl.load(address + 2).to(tl.float32)
            source_x += 1
        source_y += 1
    gain = (257.0 / total_y) * (1.0 / total_x)  # 257: from [0, 255] to [0, WHITE]
    return red * gain, green * gain, blue * gain


@triton.jit
def _tap_count(box, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """The most source pixels under the triangle of one output pixel; 1 where nothing is resized."""
    count = (2 * tl.maximum(box, SIZE) + SIZE - 1) // SIZE
    return tl.where(box == SIZE, 1, tl.minimum(box, count))


@triton.jit
def _first_tap(place, begin, box, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """The image's first pixel under a triangle, and what ``_weight`` needs to know of its centre."""
    center = (2 * place + 1) * box
    first = begin + tl.maximum(center - 2 * tl.maximum(box, SIZE) + SIZE, 0) // (2 * SIZE)
    return first, SIZE - center - begin * (2 * SIZE)


@triton.jit
def _weight(source, offset, slope, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """The triangle's height at a pixel of the image."""
    distance = (source * (2 * SIZE) + offset).to(tl.float32)
    return tl.maximum(1.0 - tl.abs(distance) * slope, 0.0)


@triton.jit
def _overlap(begin, box, image_side):  # type: ignore[no-untyped-def]
    """The first and the last pixel of the image that lie in the box; if none do, some that do not."""
    low = tl.minimum(tl.maximum(begin, 0), image_side - 1)
    return low, tl.minimum(tl.maximum(begin + box - 1, 0), image_side - 1)
