"""Where the images of a Parquet column lie in their file, so that one is read without its row group.

A column of a row group is a chunk: a dictionary page, perhaps, and data pages (parquet-format, ``README.md``
and ``Encodings.md``). Writers put a hundred images and more into a page, so that a reader of pages would
decode megabytes for each image of a shuffled epoch. Uncompressed, an image is a slice of the file; in a page
of Snappy it is decoded from some KiB around it (``snappy``). With other codecs a page is the least to decode.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipelines.decode.header import UndecodableImageError, image_size
from pipelines.files.patience import read_at
from pipelines.sources.parquet.snappy import BrokenBlockError, decode_part, entry_points
from pipelines.sources.parquet.thrift import BrokenThriftError, Struct, read_struct, read_varint

# Columns of a table of images: the slice of the file that holds one, what that is, the image's place in it
# once it is unpacked, and the upright height and width (0: unreadable header).
OFFSET, STORED, CODEC, UNPACKED, SKIP, LENGTH, HEIGHT, WIDTH = range(8)
COLUMNS = 8
CODECS = ("", "snappy", "gzip", "brotli", "zstd", "lz4_raw")  # in the order of column CODEC: only add
_PLAIN, _SNAPPY = 0, 1

Decompress = Callable[[bytes, str, int], bytes]
"""Bytes, codec and size of the content to content; ValueError or OSError where it is broken."""

_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_ENCODING_PLAIN, _ENCODING_RLE, _ENCODINGS_DICTIONARY = 0, 3, (2, 8)
_HEADERS = (1 << 12, 1 << 18, 1 << 26)  # bytes read of a page for its header: statistics may hold an image


class BrokenParquetError(Exception):
    """The file is no whole Parquet, or of a kind that is not read; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A column of a row group."""

    begin: int
    """Bytes from the beginning of the file."""
    length: int
    """Bytes."""
    codec: str
    """One of ``CODECS``."""
    rows: int
    max_definition: int
    """Definition level of a value that is there; lower ones are of nulls."""


def find_images(descriptor: int, chunk: Chunk, decompress: Decompress) -> tuple[np.ndarray, np.ndarray]:
    """Find the images of a chunk. Memory holds one of its pages at a time, packed and unpacked.

    Returns:
        bool [rows], False where the image is null; and int64 [images, COLUMNS], a table of those that are
        there.

    Raises:
        BrokenParquetError: it is damaged, or encoded as no column of images should be.
        OSError: it cannot be read.
    """
    position, end = chunk.begin, chunk.begin + chunk.length
    dictionary, rows = np.empty((0, COLUMNS), np.int64), 0
    present, tables = [np.empty(0, bool)], [dictionary]
    try:
        while rows < chunk.rows:
            header, begin = _header(descriptor, position, end)
            kind, stored = _number(header, 1), _number(header, 3)
            position = begin + stored
            if kind not in (_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2):
                continue
            data = read_at(descriptor, begin, stored)
            if position > end or len(data) < stored:
                raise BrokenParquetError(f"it breaks off at byte {begin + len(data)}")
            page = _Page(data, begin, _number(header, 2), chunk.codec, decompress)
            if kind == _DICTIONARY_PAGE:
                dictionary = page.plain_values(0, _number(_fields(header, 7), 1))
                continue
            fields = _fields(header, 5 if kind == _DATA_PAGE else 8)
            rows += _number(fields, 1)
            if rows > chunk.rows:
                raise BrokenParquetError(f"more rows than its row group of {chunk.rows} holds")
            there, table = _data_page(page, fields, kind, chunk.max_definition, dictionary)
            present.append(there)
            tables.append(table)
    except (BrokenThriftError, BrokenBlockError, struct.error, IndexError, ValueError) as error:
        raise BrokenParquetError(f"a damaged page before byte {position} {error}".rstrip()) from None
    return np.concatenate(present), np.concatenate(tables)


def unpack_image(data: bytes, row: np.ndarray, decompress: Decompress) -> bytes:
    """The bytes of an image.

    Args:
        data: the slice of the file that holds it.
        row: int64 [COLUMNS], of the table.
        decompress: for codecs other than Snappy.

    Raises:
        OSError: the slice is not what it was.
    """
    codec, unpacked, skip, length = row[CODEC : LENGTH + 1].tolist()
    if codec == _PLAIN:
        return data
    try:
        if codec == _SNAPPY:
            return decode_part(np.frombuffer(data, np.uint8), unpacked)[skip:].tobytes()
        return decompress(data, CODECS[codec], unpacked)[skip : skip + length]
    except (BrokenBlockError, ValueError, OSError):
        raise OSError("the file has changed since it was opened, or is damaged") from None


class _Page:
    """A page that lies at ``begin`` in its file; its content has ``size`` bytes."""

    def __init__(self, data: bytes, begin: int, size: int, codec: str, decompress: Decompress) -> None:
        self._data, self._begin, self._size, self._codec = data, begin, size, codec
        self._decompress = decompress
        self._entries = np.zeros((2, 1), np.int64)
        self._content: memoryview | None = None

    @property
    def content(self) -> memoryview:
        """The unpacked bytes."""
        if self._content is None:
            self._content = memoryview(self._unpacked())
            if len(self._content) != self._size:
                raise ValueError
        return self._content

    def without(self, length: int, *, packed: bool) -> _Page:
        """The page without its first bytes; ``packed``: whether the others are, as in a page of version 2."""
        codec = self._codec if packed else ""
        return _Page(self._data[length:], self._begin + length, self._size - length, codec, self._decompress)

    def stored(self, length: int) -> bytes:
        """The first bytes as they are in the file."""
        return self._data[:length]

    def plain_values(self, position: int, count: int) -> np.ndarray:
        """The table (int64 [count, COLUMNS]) of values from ``position`` on, each after its length."""
        if count > len(self.content):
            raise ValueError
        spans = np.empty((count, 2), np.int64)
        for i in range(count):
            (length,) = struct.unpack_from("<I", self.content, position)
            spans[i] = position + 4, length
            position += 4 + length
        if position > len(self.content):
            raise IndexError
        table = np.empty((count, COLUMNS), np.int64)
        table[:, :HEIGHT] = self._places(spans[:, 0], spans[:, 1])
        for i, (begin, length) in enumerate(spans.tolist()):
            table[i, HEIGHT:] = _size_or_zero(self.content[begin : begin + length])
        return table

    def _unpacked(self) -> bytes | memoryview:
        if not self._codec:
            return self._data
        if self._codec != "snappy":
            try:
                return self._decompress(self._data, self._codec, self._size)
            except OSError:
                raise ValueError from None
        block = np.frombuffer(self._data, np.uint8)
        self._entries = np.stack(entry_points(block))
        return decode_part(block[self._entries[0, 0] :], int(self._entries[1, -1])).data

    def _places(self, begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Columns up to LENGTH of values that lie in the content at ``begins``."""
        skips, unpacked = begins, np.full(len(begins), self._size)
        offsets, stored = np.zeros(len(begins), np.int64), np.full(len(begins), len(self._data))
        if not self._codec:
            offsets, stored, unpacked, skips = begins, lengths, lengths, np.zeros(len(begins), np.int64)
        elif self._codec == "snappy":
            packed, content = self._entries
            first = np.searchsorted(content[:-1], begins, side="right") - 1
            last = np.minimum(np.searchsorted(content, begins + lengths), len(content) - 1)
            offsets, stored = packed[first], packed[last] - packed[first]
            skips = begins - content[first]
            unpacked = skips + lengths
        codec = np.full(len(begins), CODECS.index(self._codec))
        return np.stack([self._begin + offsets, stored, codec, unpacked, skips, lengths], axis=1)


def _data_page(
    page: _Page, fields: Struct, kind: int, max_definition: int, dictionary: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows of a data page have a value, bool [rows], and the table of these."""
    rows, levels, position = _number(fields, 1), b"", 0
    if kind == _DATA_PAGE_V2:
        encoding, repeated = _number(fields, 4), _number(fields, 6)
        before = repeated + _number(fields, 5)
        levels = page.stored(before)[repeated:]
        page = page.without(before, packed=fields.get(7, True) is not False)
    else:
        encoding = _number(fields, 2)
        if max_definition:
            if _number(fields, 3) != _ENCODING_RLE:
                raise BrokenParquetError("definition levels in an encoding that is not read")
            (length,) = struct.unpack_from("<I", page.content)
            position = 4 + length
            levels = bytes(page.content[4:position])
    there = _hybrid(levels, max_definition.bit_length(), rows) == max_definition
    count = int(there.sum())
    if encoding == _ENCODING_PLAIN:
        return there, page.plain_values(position, count)
    if encoding not in _ENCODINGS_DICTIONARY:
        raise BrokenParquetError(f"images in encoding {encoding}, which is not read: write it with pyarrow")
    if not count:
        return there, dictionary[:0]
    packed = bytes(page.content[position + 1 :])
    return there, dictionary[_hybrid(packed, page.content[position], count)]


def _hybrid(data: bytes, width: int, count: int) -> np.ndarray:
    """Decode runs and bit-packed groups of numbers of ``width`` bits: int64 [count]."""
    if width > 32:
        raise ValueError
    parts, missing, position = [np.empty(0, np.int64)], count if width else 0, 0
    while missing:
        head, position = read_varint(data, position)
        taken = -(-width // 8) if head & 1 == 0 else (head >> 1) * width
        piece = data[position : position + taken]
        position += taken
        if len(piece) < taken or head < 2:
            raise IndexError
        if head & 1:
            bits = np.unpackbits(np.frombuffer(piece, np.uint8), bitorder="little").reshape(-1, width)
            part = (bits[:missing].astype(np.int64) << np.arange(width)).sum(axis=1)
        else:
            part = np.full(min(head >> 1, missing), int.from_bytes(piece, "little"), np.int64)
        parts.append(part)
        missing -= len(part)
    return np.concatenate(parts) if width else np.zeros(count, np.int64)


def _header(descriptor: int, position: int, end: int) -> tuple[Struct, int]:
    """The header of the page at ``position``, and the place after it."""
    for length in _HEADERS:
        data = read_at(descriptor, position, max(0, min(length, end - position)))
        try:
            header, size = read_struct(data)
            return header, position + size
        except BrokenThriftError:
            if len(data) < length:
                break
    raise BrokenParquetError(f"no header of a page at byte {position}")


def _number(fields: Struct, name: int) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or value < 0:
        raise BrokenThriftError("with a header that lacks a number")
    return value


def _fields(fields: Struct, name: int) -> Struct:
    value = fields.get(name)
    if not isinstance(value, dict):
        raise BrokenThriftError("with a header that lacks a part")
    return value


def _size_or_zero(image: memoryview) -> tuple[int, int]:
    try:
        return image_size(image)
    except UndecodableImageError:
        return 0, 0
