"""Third and fourth pass of the GPU renderer, for blurred views: down the columns, then along the rows.

A staged view is a matrix of SIZE rows and 3 SIZE words. The third pass takes means of its rows, whatever
channel a word is of, and leaves it transposed, so that the fourth can do the same: in either, a thread reads
eight neighbouring words at a time, whatever the tap.
"""

from __future__ import annotations

import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]

from pipelines.render.gpu_color import finish, to_word
from pipelines.render.gpu_table import DECAY, RADIUS, ROW_WORDS, SLOT, number


@triton.jit
def blur_columns(  # type: ignore[no-untyped-def]
    views, rows, staged, turned, SIZE: tl.constexpr, TILE: tl.constexpr
):
    """A tile in each third of one view's columns, blurred down the columns.

    Args:
        views: int32 [n], numbers of the views that are blurred.
        rows, staged, SIZE: of ``resample_views``.
        turned: uint16 [n, SIZE, 3, SIZE], written: column, channel, row.
        TILE: side of a tile, a power of 2.
    """
    TILES: tl.constexpr = (SIZE + TILE - 1) // TILE
    entry = tl.program_id(0) // (TILES * TILES)
    row = rows + tl.load(views + entry) * ROW_WORDS
    y, word = _tile(tl.program_id(0), SIZE, TILE)
    inside = (y < SIZE) & (word < SIZE)
    first, second, third = _blur(staged, tl.load(row + SLOT), row, y, word, inside, SIZE)
    place = turned + entry.to(tl.int64) * (3 * SIZE * SIZE) + word * SIZE + y
    tl.store(place, to_word(first), mask=inside)
    tl.store(place + SIZE * SIZE, to_word(second), mask=inside)
    tl.store(place + 2 * SIZE * SIZE, to_word(third), mask=inside)


@triton.jit
def blur_rows(  # type: ignore[no-untyped-def]
    views, rows, turned, out, SIZE: tl.constexpr, TILE: tl.constexpr, LAB: tl.constexpr
):
    """A tile of one view, blurred along the rows and finished.

    Args:
        views, rows, turned, SIZE, TILE: of ``blur_columns``.
        out, LAB: of ``resample_views``.
    """
    TILES: tl.constexpr = (SIZE + TILE - 1) // TILE
    entry = tl.program_id(0) // (TILES * TILES)
    view = tl.load(views + entry)
    row = rows + view * ROW_WORDS
    x, y = _tile(tl.program_id(0), SIZE, TILE)
    inside = (x < SIZE) & (y < SIZE)
    red, green, blue = _blur(turned, entry, row, x, y, inside, SIZE)
    red, green, blue = tl.trans(red), tl.trans(green), tl.trans(blue)
    finish(red, green, blue, row, out, view, tl.trans(y), tl.trans(x), tl.trans(inside), SIZE, LAB)


@triton.jit
def _tile(program, SIZE: tl.constexpr, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Places of a program's tile: down [TILE, 1] and across [1, TILE]."""
    TILES: tl.constexpr = (SIZE + TILE - 1) // TILE
    tile = program % (TILES * TILES)
    down = (tile // TILES * TILE + tl.arange(0, TILE))[:, None]
    return down, (tile % TILES * TILE + tl.arange(0, TILE))[None, :]


@triton.jit
def _blur(words, entry, row, down, across, inside, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """The Gaussian mean of words above and below, borders reflected: three of [TILE, TILE].

    Args:
        words: uint16 [n, SIZE, 3, SIZE]; ``entry`` is the first index, results are for the three third ones.
        row: of the launch table; gives the kernel, whose radius is below SIZE.
        down, across: the second and the last index, [TILE, 1] and [1, TILE].
        inside: which of them exist, [TILE, TILE].
    """
    place = words + entry.to(tl.int64) * (3 * SIZE * SIZE) + across
    radius, decay = tl.load(row + RADIUS), number(row, DECAY)
    first = tl.zeros([down.shape[0], across.shape[1]], tl.float32)
    second, third = first, first
    total = 0.0
    for tap in range(-radius, radius + 1):
        weight = tl.exp(decay * (tap * tap))
        total += weight
        source = tl.abs(down + tap)
        source = tl.minimum(source, 2 * (SIZE - 1) - source)
        line = place + source * (3 * SIZE)
        first += weight * tl.load(line, mask=inside, other=0).to(tl.float32)
        second += weight * tl.load(line + SIZE, mask=inside, other=0).to(tl.float32)
        third += weight * tl.load(line + 2 * SIZE, mask=inside, other=0).to(tl.float32)
    gain = 1.0 / total
    return first * gain, second * gain, third * gain
