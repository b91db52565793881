"""The members of a tar, header by header: POSIX ustar and pax, and GNU's long names.

Python's ``tarfile`` recurses through chains of headers, reads as many bytes for a name as the file claims,
and stops at the first end of joined tars. Here the memory is bounded, and every fault is one kind of error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from typing import Literal, NamedTuple

BLOCK = 512
_LARGEST_NAME = 1 << 20  # bytes, of a header that holds a long name or pax records
_PIECE = 1 << 20  # bytes read at a time to pass the zeros at the end
_RECORD = re.compile(rb"(\d{1,7}) ([^=\n]{1,200})=")
_REGULAR = (b"0", b"\0", b"7")
_WITHOUT_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders, pipes


class BrokenTarError(Exception):
    """The file is no whole tar; the message says why."""


class Member(NamedTuple):
    """One member, or what is found behind the end of the archive."""

    name: str
    kind: Literal["file", "link", "sparse", "other", "behind the end"]
    offset: int
    """Begin of its content, bytes."""
    length: int
    """Bytes."""


class _Header(NamedTuple):
    name: bytes
    type: bytes
    size: int
    is_extended: bool
    """GNU sparse: further headers follow."""


def tar_members(descriptor: int) -> Iterator[Member]:
    """Yield the members of an open tar; of joined tars (``cat a.tar b.tar``) those of each.

    Bytes behind the end that are no tar are one member, "behind the end".

    Raises:
        BrokenTarError: it breaks off, or a header is damaged.
        OSError: it cannot be read.
    """
    end = os.fstat(descriptor).st_size
    if end == 0:
        raise BrokenTarError("empty file")
    position = yield from _archive(descriptor, 0, end)
    while (position := _next_content(descriptor, position, end)) < end:
        if not _is_header(os.pread(descriptor, BLOCK, position)):
            yield Member("", "behind the end", position, end - position)
            return
        position = yield from _archive(descriptor, position, end)


def _archive(descriptor: int, position: int, end: int) -> Generator[Member, None, int]:
    """Yield the members of the archive that begins at ``position``; returns where its end block begins."""
    name: bytes | None = None
    size: int | None = None
    sparse = False
    while (header := _parsed(_block(descriptor, position, end), position)) is not None:
        start = position + BLOCK
        if header.type in (b"L", b"K", b"x", b"g", b"X"):
            content = _content(descriptor, start, header.size, end)
            if header.type == b"L":
                name = content.partition(b"\0")[0]
            elif header.type in (b"x", b"X"):
                records = _pax_records(content)
                name = records.get(b"GNU.sparse.name", records.get(b"path", name))
                size = _decimal(records[b"size"]) if b"size" in records else size
                sparse = sparse or any(key.startswith(b"GNU.sparse.") for key in records)
            position = start + _padded(header.size)
            continue
        if header.type == b"S":
            sparse, more = True, header.is_extended
            while more:
                more = bool(_block(descriptor, start, end)[504])
                start += BLOCK
        length = header.size if size is None else size
        length = 0 if header.type in _WITHOUT_DATA else length
        full = (header.name if name is None else name).partition(b"\0")[0]
        position = start + _padded(length)
        if start + length > end:
            raise BrokenTarError(f"it breaks off at byte {end}")
        yield Member(full.decode("utf-8", "surrogateescape"), _kind(header.type, full, sparse), start, length)
        name, size, sparse = None, None, False
    return position


def _kind(kind: bytes, name: bytes, sparse: bool) -> Literal["file", "link", "sparse", "other"]:
    if sparse:
        return "sparse"
    if kind in (b"1", b"2"):
        return "link"
    return "file" if kind in _REGULAR and not name.endswith(b"/") else "other"  # so were folders in 1979


def _block(descriptor: int, position: int, end: int) -> bytes:
    block = os.pread(descriptor, BLOCK, position)
    if len(block) < BLOCK:
        raise BrokenTarError(f"it breaks off at byte {min(position, end)}")
    return block


def _parsed(block: bytes, position: int) -> _Header | None:
    """The header in a block; None for the zeros that end an archive."""
    stored = block[148:156]
    total = sum(block) - sum(stored) + 8 * 0x20
    if not block.strip(b"\0"):
        return None
    try:
        if _number(stored) not in (total, total - 256 * sum(byte > 127 for byte in block)):  # signed, once
            raise BrokenTarError
        size = _number(block[124:136])
    except BrokenTarError:
        raise BrokenTarError(f"no header at byte {position}") from None
    name, prefix = block[:100].partition(b"\0")[0], b""
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].partition(b"\0")[0]
    return _Header(prefix + b"/" + name if prefix else name, block[156:157], size, block[482] != 0)


def _is_header(block: bytes) -> bool:
    try:
        return len(block) == BLOCK and _parsed(block, 0) is not None
    except BrokenTarError:
        return False


def _number(field: bytes) -> int:
    """An octal number, or GNU's base 256; at least 0."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip() or b"0"
    if not re.fullmatch(rb"[0-7]+", digits):
        raise BrokenTarError
    return int(digits, 8)


def _decimal(digits: bytes) -> int:
    if not re.fullmatch(rb"\d{1,19}", digits):
        raise BrokenTarError("a pax header of no size")
    return int(digits)


def _content(descriptor: int, start: int, size: int, end: int) -> bytes:
    if size > _LARGEST_NAME:
        raise BrokenTarError(f"a name of {size} bytes at byte {start}")
    if start + size > end:
        raise BrokenTarError(f"it breaks off at byte {end}")
    return os.pread(descriptor, size, start)


def _pax_records(content: bytes) -> dict[bytes, bytes]:
    """The records of a pax header: ``LENGTH KEY=VALUE\\n``."""
    records, position = {}, 0
    while found := _RECORD.match(content, position):
        stop = position + int(found[1])
        if stop <= found.end() or content[stop - 1 : stop] != b"\n":
            raise BrokenTarError("a damaged pax header")
        records[found[2]] = content[found.end() : stop - 1]
        position = stop
    if content[position:].strip(b"\0"):
        raise BrokenTarError("a damaged pax header")
    return records


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _next_content(descriptor: int, position: int, end: int) -> int:
    """The first block from ``position`` on that is not zero; ``end`` where there is none."""
    while position < end:
        piece = os.pread(descriptor, _PIECE, position)
        zeros = len(piece) - len(piece.lstrip(b"\0"))
        if not piece or zeros < len(piece):
            return position + zeros // BLOCK * BLOCK
        position += len(piece)
    return end
