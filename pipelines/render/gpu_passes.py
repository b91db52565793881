"""The four kernels of the GPU renderer, its passes: loops around the operations of ``pipelines.ops``.

First pass, ``resample_views``: crop, resize, mirror, and the jitter up to contrast. Second, ``adjust_views``,
for views whose contrast changes: the mean gray, which the first pass summed up tile by tile, is known.
Third and fourth, ``blur_columns`` and ``blur_rows``, for blurred views: the third takes means of a staged
view's rows, whatever channel a word is of, and leaves it transposed, so that the fourth can do the same: in
either, a thread reads eight neighboring words at a time, whatever the tap.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import triton
import triton.language as tl

from pipelines.ops import AFTER_BLUR, BEFORE_BLUR, CHANNEL_OPS, PLACE_OPS, Op
from pipelines.ops.channel_jitter_gpu import jittered
from pipelines.ops.color_jitter_gpu import jitter
from pipelines.ops.crop_gpu import resample
from pipelines.ops.gaussian_blur_gpu import blur
from pipelines.ops.gpu_row import number
from pipelines.ops.grayscale_gpu import gray_of
from pipelines.ops.lab_gpu import to_lab
from pipelines.ops.unrolled import chained
from pipelines.render.gpu_table import DECAY, RADIUS, ROW_WORDS, SCALE, SHIFT, SLOT, SPLIT


def _chained(name: str, ops: Sequence[type[Op]], parameters: str, result: str) -> Any:
    """Compiled: ``apply`` of the operations' Triton files, one after the other (``chained``)."""
    functions = [import_module(f"{op.__module__}_gpu").apply for op in ops]
    return triton.jit(chained(name, parameters, result, functions, tl=tl))


_COLORS, _CHANNELS, _PLACES = "red, green, blue", "first, second, third", "y, x, shown"
_before_blur = _chained("before_blur_gpu", BEFORE_BLUR, f"{_COLORS}, row", _COLORS)
_after_blur = _chained("after_blur_gpu", AFTER_BLUR, f"{_COLORS}, row", _COLORS)
_on_channels = _chained("on_channels_gpu", CHANNEL_OPS, f"{_CHANNELS}, row", _CHANNELS)
_on_places = _chained("on_places_gpu", PLACE_OPS, f"{_PLACES}, row, SIZE", _PLACES)


@triton.jit(
    do_not_specialize=["num_images"],
    do_not_specialize_on_alignment=["pixels", "offsets", "heights", "widths"],
)
def resample_views(
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
        partial_sums: float32 [slots, tiles], written where contrast follows: the sum of a tile's gray.
        out: [V, SIZE, SIZE, 3].
        SIZE: side of a view; TILE_Y, TILE_X: of a tile, powers of 2. A tile of one row is TILE_X pixels one
            after the other, over the ends of lines.
        LAB: whether views are in L*a*b*.
    """
    TILES_X: tl.constexpr = (SIZE + TILE_X - 1) // TILE_X
    TILES: tl.constexpr = (
        (SIZE * SIZE + TILE_X - 1) // TILE_X if TILE_Y == 1 else (SIZE + TILE_Y - 1) // TILE_Y * TILES_X
    )
    view = tl.program_id(0) // TILES
    tile = tl.program_id(0) % TILES
    row = rows + view * ROW_WORDS
    if TILE_Y == 1:
        pixel = tile * TILE_X + tl.arange(0, TILE_X)
        y, x = pixel // SIZE, pixel % SIZE
    else:
        y = tile // TILES_X * TILE_Y + tl.arange(0, TILE_Y)
        x = tile % TILES_X * TILE_X + tl.arange(0, TILE_X)
        y, x = tl.broadcast(y[:, None], x[None, :])  # at once, so that all that follows has one layout
    inside = (y < SIZE) & (x < SIZE)

    source = view % num_images
    image = pixels + tl.load(offsets + source)
    red, green, blue = resample(image, tl.load(heights + source), tl.load(widths + source), row, y, x, SIZE)
    split = tl.load(row + SPLIT)
    red, green, blue = jitter(red, green, blue, row, 0, split, 0.0)
    slot = tl.load(row + SLOT)
    if split < 4:
        gray = tl.where(inside, gray_of(red, green, blue), 0.0)
        tl.store(partial_sums + slot * TILES + tile, tl.sum(gray))
    else:
        red, green, blue = _before_blur(red, green, blue, row)
    if slot >= 0:
        _stage(red, green, blue, staged, slot, y * SIZE + x, inside, SIZE)
    else:
        _finish(red, green, blue, row, out, view, y, x, inside, SIZE, LAB)


@triton.jit
def adjust_views(
    views,
    rows,
    staged,
    partial_sums,
    out,
    SIZE: tl.constexpr,
    TILES: tl.constexpr,
    TILES_POWER: tl.constexpr,
    BLOCK: tl.constexpr,
    LAB: tl.constexpr,
):
    """A block of pixels of one view, from contrast on: finished, or staged again where blur follows.

    Args:
        views: int32, numbers of the views whose contrast changes.
        rows, staged, partial_sums, out, SIZE, LAB: of ``resample_views``.
        TILES: of ``partial_sums``; TILES_POWER: the power of 2 from there on.
        BLOCK: pixels, a power of 2.
    """
    BLOCKS: tl.constexpr = (SIZE * SIZE + BLOCK - 1) // BLOCK
    view = tl.load(views + tl.program_id(0) // BLOCKS)
    pixel = tl.program_id(0) % BLOCKS * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < SIZE * SIZE
    row = rows + view * ROW_WORDS
    slot = tl.load(row + SLOT)
    tile = tl.arange(0, TILES_POWER)
    sums = tl.load(partial_sums + slot * TILES + tile, mask=tile < TILES, other=0.0)
    mean = tl.sum(sums) / (SIZE * SIZE)  # in one order, whatever ran first: repeatable to the bit
    address = staged + slot.to(tl.int64) * (3 * SIZE * SIZE) + 3 * pixel
    red = tl.load(address, mask=inside, other=0).to(tl.float32)
    green = tl.load(address + 1, mask=inside, other=0).to(tl.float32)
    blue = tl.load(address + 2, mask=inside, other=0).to(tl.float32)
    red, green, blue = jitter(red, green, blue, row, tl.load(row + SPLIT), 4, mean)
    red, green, blue = _before_blur(red, green, blue, row)
    if tl.load(row + RADIUS) > 0:
        _stage(red, green, blue, staged, slot, pixel, inside, SIZE)
    else:
        _finish(red, green, blue, row, out, view, pixel // SIZE, pixel % SIZE, inside, SIZE, LAB)


@triton.jit
def blur_columns(views, rows, staged, turned, SIZE: tl.constexpr, DOWN: tl.constexpr, ACROSS: tl.constexpr):
    """A tile in each third of one view's columns, blurred down the columns.

    Args:
        views: int32 [n], numbers of the views that are blurred.
        rows, staged, SIZE: of ``resample_views``.
        turned: uint16 [n, SIZE, 3, SIZE], written: column, channel, row.
        DOWN, ACROSS: sides of a tile, powers of 2.
    """
    entry, y, word = _tile(SIZE, DOWN, ACROSS)
    row = rows + tl.load(views + entry) * ROW_WORDS
    inside = (y < SIZE) & (word < SIZE)
    slot, radius, decay = tl.load(row + SLOT), tl.load(row + RADIUS), number(row, DECAY)
    first, second, third = blur(staged, slot, radius, decay, y, word, inside, SIZE)
    address = turned + entry.to(tl.int64) * (3 * SIZE * SIZE) + word * SIZE + y
    tl.store(address, _to_word(first), mask=inside)
    tl.store(address + SIZE * SIZE, _to_word(second), mask=inside)
    tl.store(address + 2 * SIZE * SIZE, _to_word(third), mask=inside)


@triton.jit
def blur_rows(
    views,
    rows,
    turned,
    out,
    SIZE: tl.constexpr,
    DOWN: tl.constexpr,
    ACROSS: tl.constexpr,
    LAB: tl.constexpr,
):
    """A tile of one view, blurred along the rows and finished.

    Args:
        views, rows, turned, SIZE: of ``blur_columns``; DOWN: columns, ACROSS: rows of a tile.
        out, LAB: of ``resample_views``.
    """
    entry, x, y = _tile(SIZE, DOWN, ACROSS)
    view = tl.load(views + entry)
    row = rows + view * ROW_WORDS
    inside = (x < SIZE) & (y < SIZE)
    radius, decay = tl.load(row + RADIUS), number(row, DECAY)
    red, green, blue = blur(turned, entry, radius, decay, x, y, inside, SIZE)
    red, green, blue = tl.trans(red), tl.trans(green), tl.trans(blue)
    _finish(red, green, blue, row, out, view, tl.trans(y), tl.trans(x), tl.trans(inside), SIZE, LAB)


@triton.jit
def _tile(SIZE: tl.constexpr, DOWN: tl.constexpr, ACROSS: tl.constexpr):
    """A program's place in the list of views, and those of its tile: down [DOWN, 1], across [1, ACROSS]."""
    ABREAST: tl.constexpr = (SIZE + ACROSS - 1) // ACROSS
    TILES: tl.constexpr = (SIZE + DOWN - 1) // DOWN * ABREAST
    tile = tl.program_id(0) % TILES
    down = (tile // ABREAST * DOWN + tl.arange(0, DOWN))[:, None]
    across = (tile % ABREAST * ACROSS + tl.arange(0, ACROSS))[None, :]
    return tl.program_id(0) // TILES, down, across


@triton.jit
def _stage(red, green, blue, staged, slot, pixel, inside, SIZE: tl.constexpr):
    """Keep pixels for a later pass, rounded to uint16."""
    address = staged + slot.to(tl.int64) * (3 * SIZE * SIZE) + 3 * pixel
    tl.store(address, _to_word(red), mask=inside)
    tl.store(address + 1, _to_word(green), mask=inside)
    tl.store(address + 2, _to_word(blue), mask=inside)


@triton.jit
def _to_word(value):
    """The nearest uint16 of a value in [0, WHITE]."""
    return (value + 0.5).to(tl.int32).to(tl.uint16)


@triton.jit
def _finish(red, green, blue, row, out, view, y, x, inside, SIZE: tl.constexpr, LAB: tl.constexpr):
    """Apply the operations after blur, and write pixels (y, x) of a view, rounded to the type of ``out``."""
    red, green, blue = _after_blur(red, green, blue, row)
    if LAB:
        red, green, blue = to_lab(red, green, blue)
    first, second, third = _normalize(red, row, 0), _normalize(green, row, 1), _normalize(blue, row, 2)
    first, second, third = jittered(first, second, third, row)
    first, second, third = _on_channels(first, second, third, row)
    y, x, shown = _on_places(y, x, inside, row, SIZE)
    address = out + view.to(tl.int64) * (3 * SIZE * SIZE) + (y * SIZE + x) * 3
    tl.store(address, tl.where(shown, first, 0.0), mask=inside)
    tl.store(address + 1, tl.where(shown, second, 0.0), mask=inside)
    tl.store(address + 2, tl.where(shown, third, 0.0), mask=inside)


@triton.jit
def _normalize(value, row, CHANNEL: tl.constexpr):
    return value * number(row + CHANNEL, SCALE) + number(row + CHANNEL, SHIFT)
