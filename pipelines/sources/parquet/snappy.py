"""Random access to blocks that are compressed with Snappy, the usual codec of Parquet.

A block is a row of literals and of copies from what came before (google/snappy, format_description.txt).
Compressors work on 64 KiB at a time and never copy across, so that decoding may begin at any multiple of it.
This is no part of the format; ``entry_points`` keeps the places for which it holds.
"""

from __future__ import annotations

import numpy as np

from pipelines.files.kernels import njit

_FRAGMENT = 1 << 16  # bytes of content that compressors take at a time
_NO_DISTANCE = (1 << 40) - 1  # farther back than there is content


class BrokenBlockError(Exception):
    """The bytes are no block of Snappy."""


def entry_points(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places at which decoding may begin, at most one per 64 KiB of content; the first is the beginning.

    Args:
        block: uint8 [n], the whole block.

    Returns:
        int64 [E + 1] each: place in the block, and place in its content; last come the ends of both.

    Raises:
        BrokenBlockError: it breaks off, or a copy is of what is not there.
    """
    first, size = _content_size(block)
    places = np.empty((2, size // _FRAGMENT + 3), np.int64)
    count = _find_entry_points(block, first, size, places)
    if count < 0:
        raise BrokenBlockError
    return places[0, :count], places[1, :count]


def decode_part(elements: np.ndarray, size: int) -> np.ndarray:
    """The first ``size`` bytes (uint8) of what is encoded from an entry point on.

    Args:
        elements: uint8 [n], the block from the entry point on, at least up to the element that holds the end.
        size: bytes of content wanted.

    Raises:
        BrokenBlockError: they are not in it.
    """
    out = np.empty(size, np.uint8)
    if not _decode(elements, out):
        raise BrokenBlockError
    return out


def _content_size(block: np.ndarray) -> tuple[int, int]:
    """The place of the first element, and the size of the content, which stands before it as a varint."""
    size = 0
    for position, byte in enumerate(block[:5].tolist()):
        size |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            if size < 64 * max(len(block), 1):  # no element makes more of less
                return position + 1, size
            break
    raise BrokenBlockError


@njit(cache=True, inline="always")
def _element(data, position):
    """Length in bytes of the tag at ``position``, content it stands for, and how far back (0: a literal).

    A tag that breaks off has length 0.
    """
    tag, left = int(np.int64(data[position])), len(data) - position  # int alone makes uint8 an unsigned word
    kind, more = tag & 3, 1
    if kind == 0:
        more = max(0, (tag >> 2) - 59)
    elif kind > 1:
        more = 2 if kind == 2 else 4
    if left <= more:
        return 0, 0, 0
    number = 0
    for i in range(more):
        number += int(np.int64(data[position + 1 + i])) << (8 * i)
    if kind == 0:
        return 1 + more, 1 + (number if more else tag >> 2), 0
    if kind == 1:
        return 2, ((tag >> 2) & 7) + 4, ((tag >> 5) << 8 | number) or _NO_DISTANCE
    return 1 + more, (tag >> 2) + 1, number or _NO_DISTANCE


@njit(cache=True, nogil=True)
def _find_entry_points(data, position, size, places):
    """Fill ``places``; returns how many, or -1 where the block is broken."""
    made, count, next_mark = 0, 0, 0
    while position < len(data):
        if made >= next_mark:
            places[0, count], places[1, count] = position, made
            count += 1
            next_mark = (made // _FRAGMENT + 1) * _FRAGMENT
        tag, length, back = _element(data, position)
        if tag == 0 or made + length > size or back > made:
            return -1
        position += tag
        if back:
            while places[1, count - 1] > made - back:  # what came before it is needed after it
                count -= 1
        else:
            position += length
            if position > len(data):
                return -1
        made += length
    if made != size:
        return -1
    places[0, count], places[1, count] = position, made
    return count + 1


@njit(cache=True, nogil=True)
def _decode(data, out):
    """Fill ``out``; False where the elements do not."""
    position, made = 0, 0
    while made < len(out):
        if position >= len(data):
            return False
        tag, length, back = _element(data, position)
        if tag == 0 or back > made:
            return False
        position += tag
        taken = min(length, len(out) - made)
        if back:
            for i in range(made, made + taken):
                out[i] = out[i - back]
        else:
            if position + taken > len(data):
                return False
            out[made : made + taken] = data[position : position + taken]
            position += length
        made += taken
    return True
