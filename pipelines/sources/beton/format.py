"""FFCV's file format, version 2: what lies where in a ``.beton`` (Leclerc et al., "FFCV", 2023).

A file is a header, a description of its fields, a row of metadata a sample, the data, and a table that gives
the size of whatever was allocated at an address. All is little-endian. Data lie in pages, whose size is a
power of two; nothing reaches over the end of one, so that FFCV may read the file page by page.

Two things are our own, and FFCV passes over them: the int field ``sample_id``, and the names of the classes,
a JSON list before the table, which the unused arguments of the field ``label`` point to.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from pipelines.command.errors import UserError
from pipelines.decode.header import jpeg_header
from pipelines.files.atomic import atomic_file
from pipelines.sources.identity import printable

LABEL, SAMPLE_ID = "label", "sample_id"

_VERSION = 2
_JPEG, _RAW = 0, 1
_HEADER = np.dtype(
    [
        ("version", "<u2"),
        ("fields", "<u2"),
        ("page_size", "<u4"),
        ("samples", "<u8"),
        ("allocations", "<u8"),  # where the table begins; it ends with the file
    ]
)
_FIELD = np.dtype([("type", "u1"), ("name", "S16"), ("arguments", "u1", 1024)])
_ALLOCATION = np.dtype([("sample", "<u8"), ("address", "<u8"), ("size", "<u8")])
_IMAGE = np.dtype([("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("address", "<u8")])
_BYTES = np.dtype([("address", "<u8"), ("size", "<u8")])
_ADDRESS = np.dtype("<u8")
# What a row holds of a field, by type: float, int, RGB image, bytes, array, JSON, torch tensor.
_IN_A_ROW = (np.dtype("<f8"), np.dtype("<i8"), _IMAGE, _BYTES, _ADDRESS, _BYTES, _ADDRESS)
_FLOAT_TYPE, _INT_TYPE, _IMAGE_TYPE = 0, 1, 2

_PAGE_SIZE = 1 << 23  # FFCV's own choice; doubled for images that are larger
_CLASS_NAMES = struct.Struct("<16sQQ")  # in the arguments of ``label``: a mark, address and size
_MARK = b"fastssl-classes\0"
_LARGEST_NAMES = 1 << 26  # bytes of all class names


@dataclass(frozen=True, kw_only=True, eq=False)
class BetonTable:
    """The N rows of a file."""

    raw: np.ndarray
    """bool [N], True if the image is stored as pixels; otherwise as JPEG."""
    heights: np.ndarray
    """int32 [N], pixels."""
    widths: np.ndarray
    """int32 [N], pixels."""
    offsets: np.ndarray
    """int64 [N], begin of the image in the file, bytes."""
    lengths: np.ndarray
    """int64 [N], length of the image, bytes."""
    numbers: dict[str, np.ndarray]
    """The int (int64 [N]) and float (float64 [N]) fields by name."""
    class_names: tuple[str, ...] | None
    """Names of the classes in a file that ``write_beton`` wrote; otherwise None."""


class BetonRow(NamedTuple):
    """A sample to be written."""

    image: bytes | memoryview | np.ndarray
    """An upright JPEG of one or three components, which are those that FFCV decodes; or pixels, uint8 [H, W,
    3]. Neither side may be longer than 65535 pixels."""
    sample_id: int
    """Id of the sample, signed, 64 bits."""
    label: int
    """Class of the sample; left out of a file without classes."""


# --- reading ------------------------------------------------------------------------------------------------


def read_table(path: Path) -> BetonTable:
    """Read all but the images of a file: about 60 bytes per sample.

    The image is the field ``image``, or the only one of images.

    Raises:
        UserError: no such file, not one of format version 2, one that is not whole, or without images.
    """
    shown = printable(str(path))
    try:
        with path.open("rb") as file:
            return _read_table(file, shown)
    except OSError as error:
        raise UserError(f"cannot read {shown}: {error.strerror}") from None
    except _NotWholeError:
        raise UserError(
            f"{shown} is no whole .beton file: it was cut short, or not written to its end; copy or write it "
            "again"
        ) from None


class _NotWholeError(Exception):
    pass


def _read_table(file: BinaryIO, shown: str) -> BetonTable:
    size = file.seek(0, 2)
    header = _read(file, 0, 1, _HEADER)[0] if size >= _HEADER.itemsize else np.zeros((), _HEADER)
    page_size = int(header["page_size"])
    if header["version"] != _VERSION or page_size == 0 or page_size & (page_size - 1):
        raise UserError(f"{shown} is no .beton file of FFCV's format version {_VERSION}")
    fields = _read(file, _HEADER.itemsize, int(header["fields"]), _FIELD)
    names = [name.decode("ascii", "backslashreplace") for name in fields["name"]]
    types = fields["type"].tolist()
    row_type = _row_type(types, names, shown)
    image_field = _image_field(types, names, shown)
    begin = _HEADER.itemsize + fields.nbytes
    samples, table = int(header["samples"]), int(header["allocations"])
    if not begin + samples * row_type.itemsize <= table <= size:
        raise _NotWholeError
    if samples == 0:
        raise UserError(f"{shown} holds no samples")
    allocated = samples * sum(kind not in (_FLOAT_TYPE, _INT_TYPE) for kind in types)
    if size - table < allocated * _ALLOCATION.itemsize:
        raise _NotWholeError
    rows = _read(file, begin, samples, row_type)
    image = rows[f"f{image_field}"]
    allocations = _read(file, table, (size - table) // _ALLOCATION.itemsize, _ALLOCATION)
    numbers = {
        name: rows[f"f{i}"].astype(_IN_A_ROW[kind])
        for i, (name, kind) in enumerate(zip(names, types, strict=True))
        if kind in (_FLOAT_TYPE, _INT_TYPE)
    }
    arguments = fields["arguments"][names.index(LABEL)] if LABEL in names else np.zeros(1024, np.uint8)
    return BetonTable(
        raw=image["mode"] == _RAW,
        heights=image["height"].astype(np.int32),
        widths=image["width"].astype(np.int32),
        offsets=image["address"].astype(np.int64),
        lengths=_lengths(image, allocations, np.uint64(table)),
        numbers=numbers,
        class_names=_read_class_names(file, arguments),
    )


def _read(file: BinaryIO, offset: int, count: int, dtype: np.dtype) -> np.ndarray:
    file.seek(offset)
    data = file.read(count * dtype.itemsize)
    if len(data) < count * dtype.itemsize:
        raise _NotWholeError
    return np.frombuffer(data, dtype)


def _row_type(types: list[int], names: list[str], shown: str) -> np.dtype:
    """The type of a row, laid out as C does, with fields ``f0``, ``f1``, ..."""
    for kind, name in zip(types, names, strict=True):
        if kind >= len(_IN_A_ROW):
            raise UserError(f"{shown}: the field {name!r} is of a type of its own: write the file without it")
    return np.dtype([("", _IN_A_ROW[kind]) for kind in types], align=True)


def _image_field(types: list[int], names: list[str], shown: str) -> int:
    found = [i for i, kind in enumerate(types) if kind == _IMAGE_TYPE]
    named = [i for i in found if names[i] == "image"]
    if len(found) == 1 or named:
        return (named or found)[0]
    listed = ", ".join(names[i] for i in found) or "none"
    raise UserError(f"{shown}: it takes one image field, or one named 'image'; found: {listed}")


def _lengths(image: np.ndarray, allocations: np.ndarray, end: np.uint64) -> np.ndarray:
    """The bytes of each image (int64 [N]), from the table of allocations, checked against the file's size."""
    order = np.lexsort((allocations["size"], allocations["address"]))
    addresses = allocations["address"][order]
    # The last of equal addresses: an empty allocation shares the address of the one that follows it.
    found = np.searchsorted(addresses, image["address"], side="right") - 1
    if (addresses[found] != image["address"]).any():
        raise _NotWholeError
    lengths: np.ndarray = allocations["size"][order][found]
    outside = (image["address"] > end) | (lengths > end - image["address"])
    pixels = image["height"].astype(np.uint64) * image["width"] * 3
    wrong_pixels = (image["mode"] == _RAW) & ((lengths != pixels) | (pixels == 0))
    if (outside | (image["mode"] > _RAW) | wrong_pixels).any():
        raise _NotWholeError
    return lengths.astype(np.int64)


def _read_class_names(file: BinaryIO, arguments: np.ndarray) -> tuple[str, ...] | None:
    mark, address, size = _CLASS_NAMES.unpack_from(arguments.tobytes())
    if mark != _MARK:
        return None
    if address + size > file.seek(0, 2) or size > _LARGEST_NAMES:
        raise _NotWholeError
    try:
        names = json.loads(_read(file, address, size, np.dtype("u1")).tobytes())
    except (ValueError, RecursionError):
        raise _NotWholeError from None
    if not isinstance(names, list):
        raise _NotWholeError
    return tuple(map(str, names))


# --- writing ------------------------------------------------------------------------------------------------


def write_beton(
    path: Path, rows: Iterable[BetonRow], *, capacity: int, class_names: tuple[str, ...] | None
) -> None:
    """Write a file that FFCV reads too, atomically; equal rows give equal bytes.

    FFCV's Loader hands out the field ``sample_id`` as well, unless its pipeline is given as None.

    Args:
        capacity: the most rows that there can be; room is left for so many.
        class_names: what labels stand for; None leaves the labels out.

    Raises:
        ValueError: a row that is against what ``BetonRow`` asks for.
        OSError: the folder or the disk refuses; an older file at ``path`` is left as it was.
    """
    names = ["image", SAMPLE_ID] if class_names is None else ["image", LABEL, SAMPLE_ID]
    fields = np.zeros(len(names), _FIELD)
    fields["name"], fields["type"] = names, [_IMAGE_TYPE] + [_INT_TYPE] * (len(names) - 1)
    metadata = np.zeros(capacity, np.dtype([("", _IN_A_ROW[kind]) for kind in fields["type"]], align=True))
    allocations = np.zeros(capacity, _ALLOCATION)
    address, page_size, count = _HEADER.itemsize + fields.nbytes + metadata.nbytes, _PAGE_SIZE, 0
    with atomic_file(path) as file:
        file.seek(address)
        for row in rows:
            image, data = _encode_row(row)
            while len(data) > page_size:
                page_size *= 2  # the ends of larger pages are ends of smaller ones: what is written holds
            if -address % page_size < len(data):
                address = file.seek(address + -address % page_size)
            image["address"] = address
            file.write(data)
            numbers = (row.sample_id,) if class_names is None else (row.label, row.sample_id)
            metadata[count] = (image, *numbers)
            allocations[count] = (count, address, len(data))
            address, count = address + len(data), count + 1
        if class_names is not None:
            listed = json.dumps(class_names).encode()
            mark = _CLASS_NAMES.pack(_MARK, address, len(listed))
            fields[names.index(LABEL)]["arguments"][: len(mark)] = np.frombuffer(mark, np.uint8)
            address += file.write(listed)
        file.write(allocations[:count].tobytes())
        file.seek(0)
        header = np.array((_VERSION, len(fields), page_size, count, address), _HEADER)
        file.write(header.tobytes() + fields.tobytes() + metadata.tobytes())


def _encode_row(row: BetonRow) -> tuple[np.ndarray, memoryview]:
    """The image's part of a row of metadata (its address left open), and the bytes to store."""
    if isinstance(row.image, np.ndarray):
        if row.image.dtype != np.uint8 or row.image.ndim != 3 or row.image.shape[2] != 3:
            raise ValueError(f"pixels are uint8 [H, W, 3], not {row.image.dtype} {list(row.image.shape)}")
        mode, (height, width) = _RAW, row.image.shape[:2]
        data = np.ascontiguousarray(row.image).reshape(-1).data
    else:
        header = jpeg_header(row.image)
        if header.components not in (1, 3) or header.orientation != 1:
            raise ValueError(
                f"a JPEG of {header.components} components, orientation {header.orientation}: FFCV reads "
                "upright ones of 1 or 3"
            )
        mode, height, width, data = _JPEG, header.height, header.width, memoryview(row.image)
    if max(height, width) > 0xFFFF:
        raise ValueError(f"{width} x {height} pixels: a side has at most 65535")
    return np.array((mode, width, height, 0), _IMAGE), data
