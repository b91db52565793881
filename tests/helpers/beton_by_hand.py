"""``.beton`` files laid out byte by byte as FFCV's ``types.py`` says, and images for them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import simplejpeg

PAGE = 1 << 21

# FFCV's type numbers.
FLOAT, INT, IMAGE, BYTES, CUSTOM = 0, 1, 2, 3, 255


def ramp(i: int) -> np.ndarray:
    """The pixels of sample i of ``data/ffcv.beton.xz``: the formula of the script that wrote it."""
    y, x = np.mgrid[: 12 + i, : 16 + 2 * i]
    return np.stack([6 * x, 10 * y, 20 * i + 0 * x], axis=-1).astype(np.uint8)


def jpeg(pixels: np.ndarray) -> bytes:
    return bytes(simplejpeg.encode_jpeg(pixels, quality=95))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_array(data: bytes | memoryview | np.ndarray) -> np.ndarray:
    return data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)


def by_hand(path: Path, fields: Sequence[tuple[str, int]], rows: Sequence[Sequence[object]]) -> Path:
    """Write a file as FFCV lays it out: C alignment of the row, data from the first page on.

    A value is a number, or for images and bytes what is to be stored: a JPEG, or pixels.
    """
    formats = {FLOAT: "d", INT: "q", IMAGE: "BHHQ", BYTES: "QQ", CUSTOM: "Q"}

    def pack(values: Sequence[Sequence[int | float]]) -> bytes:
        packed = b""
        for (_, kind), value in zip(fields, values, strict=True):
            if kind in (FLOAT, INT):
                packed += bytes(-len(packed) % 8)
            packed += struct.pack("<" + formats[kind], *value)
        aligned = any(kind in (FLOAT, INT) for _, kind in fields)
        return packed + bytes(-len(packed) % 8 if aligned else 0)

    row_bytes = len(pack([[0] * len(formats[kind]) for _, kind in fields]))
    begin = 24 + 1041 * len(fields) + row_bytes * len(rows)
    place = begin + -begin % PAGE
    metadata, data, table = b"", b"", b""
    for number, row in enumerate(rows):
        values: list[Sequence[int | float]] = []
        for (_, kind), value in zip(fields, row, strict=True):
            if isinstance(value, int | float):
                values.append([value])
                continue
            content = value.tobytes() if isinstance(value, np.ndarray) else bytes(value)  # type: ignore[call-overload]
            if kind == IMAGE:
                raw = isinstance(value, np.ndarray)
                height, width = value.shape[:2] if raw else simplejpeg.decode_jpeg_header(value)[:2]  # type: ignore[attr-defined]
                values.append([int(raw), width, height, place + len(data)])
            else:
                values.append([place + len(data), len(content)])
            table += struct.pack("<QQQ", number, place + len(data), len(content))
            data += content
        metadata += pack(values)
    end = place + len(data)
    header = struct.pack("<HHIQQ", 2, len(fields), PAGE, len(rows), end)
    named = b"".join(struct.pack("<B16s1024x", kind, name.encode()) for name, kind in fields)
    path.write_bytes((header + named + metadata).ljust(place, b"\0") + data + table)
    return path
