"""PNG files chunk by chunk (ISO/IEC 15948): size, orientation, and the chunks that the pixels need.

Pillow refuses a file for a chunk beside the pixels (a text or color profile of more than 1 MB, a wrong
checksum in a comment), where torchvision, OpenCV and browsers show the picture. So it is given the chunks
that hold the picture, and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PICTURE = frozenset([b"PLTE", b"tRNS", b"IDAT", b"IEND"])
_LARGEST_EXIF = 1 << 16  # bytes; the orientation stands in the first few hundred
_WINDOW = 1 << 16  # bytes read at a time


class Chunk(NamedTuple):
    """One chunk: four letters, and where its content lies in the file."""

    kind: bytes
    start: int
    length: int


def is_png(data: bytes | memoryview) -> bool:
    """True if the bytes begin as a PNG does."""
    return bytes(data[:8]) == SIGNATURE


def chunks(read: Callable[[int, int], bytes], length: int) -> Iterator[Chunk]:
    """The chunks of a PNG of ``length`` bytes, up to its end or to where it is cut.

    Args:
        read: bytes of the file by offset and count; fewer at its end.
        length: of the file, bytes.
    """
    position, window, first, size = len(SIGNATURE), b"", 0, 0
    while position + 8 <= length:
        if not first <= position <= first + len(window) - 8:
            # pixels are leapt over; many small chunks are read together
            window, first = read(position, 16 if size > _WINDOW >> 6 else _WINDOW), position
            if len(window) < 8:
                return
        size, kind = struct.unpack_from(">I4s", window, position - first)
        yield Chunk(kind, position + 8, size)
        if kind == b"IEND":
            return
        position += 12 + size


def png_header(read: Callable[[int, int], bytes], length: int) -> tuple[int, int, bytes] | None:
    """Height, width and EXIF block (empty without one) of a PNG; None where it does not begin with a header.

    The EXIF block counts wherever it stands, also behind the pixels; of several the first.
    """
    size: tuple[int, int] | None = None
    for chunk in chunks(read, length):
        if size is None:
            content = read(chunk.start, 8)
            if chunk.kind != b"IHDR" or chunk.length < 13 or len(content) < 8:
                return None
            width, height = struct.unpack(">II", content)
            size = height, width
        elif chunk.kind == b"eXIf":
            return *size, read(chunk.start, min(chunk.length, _LARGEST_EXIF))
    return None if size is None else (*size, b"")


def picture_only(data: bytes | memoryview) -> bytes:
    """A PNG with its header, palette, transparency and pixels alone; where it is cut, this is too."""
    view = memoryview(data)
    parts: list[bytes | memoryview] = [SIGNATURE]
    for index, chunk in enumerate(chunks(lambda at, count: bytes(view[at : at + count]), len(view))):
        if index == 0 or chunk.kind in _PICTURE:
            parts.append(view[chunk.start - 8 : chunk.start + chunk.length + 4])
    return b"".join(parts)
