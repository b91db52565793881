"""Damaged images: pixels, or one kind of error; the same of their headers."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.decode.decode import decode
from pipelines.decode.header import UndecodableImageError, image_size, image_size_of_file
from tests.helpers.encoded import encoded
from tests.helpers.mutations import damaged_files, mutations, one_line

SIGNATURE = 8  # bytes of a PNG before its first chunk


def image(kind: str, mode: str = "RGB", **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    return encoded(Image.fromarray(pixels).convert(mode), kind, orientation=6, **options)


SEEDS = {
    "jpeg": [
        image("JPEG"),
        image("JPEG", progressive=True, subsampling=0),
        image("JPEG", "L", restart_marker_rows=1),
        image("JPEG", "CMYK"),
    ],
    "png": [image("PNG"), image("PNG", "RGBA"), image("PNG", "P"), image("PNG", "I;16"), image("PNG", "1")],
    "webp": [image("WEBP"), image("WEBP", lossless=True), image("WEBP", "RGBA")],
    "bmp": [image("BMP"), image("BMP", "P"), image("BMP", "1")],
}


def with_checksums(data: bytearray) -> bytearray:
    """The chunks of a PNG with right checksums, as far as they can be followed; other formats as they are."""
    position = SIGNATURE
    while data[:4] == b"\x89PNG" and position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if end + 4 <= len(data):
            struct.pack_into(">I", data, end, zlib.crc32(data[position + 4 : end]))
        position = end + 4
    return data


def size_or_none(size: Callable[[Any], tuple[int, int]], given: bytes | Path) -> tuple[int, int] | None:
    try:
        height, width = size(given)
    except UndecodableImageError as error:
        one_line(error)
        return None
    assert min(height, width) > 0
    return height, width


def fuzz(kind: str, folder: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.decode.decode.MAX_PIXELS", 1_000_000)  # the time of a test
    path = folder / f"a.{kind}"
    decoded = 0
    for data in damaged_files(path, mutations(SEEDS[kind], count, repair=with_checksums)):
        assert size_or_none(image_size, data) == size_or_none(image_size_of_file, path)
        try:
            pixels = decode(data)
        except UndecodableImageError as error:
            one_line(error)
            continue
        decoded += 1
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        assert pixels.shape == (*image_size(data), 3)
    assert count / 50 < decoded < count


@pytest.mark.parametrize("kind", SEEDS)
def test_damaged_images(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuzz(kind, tmp_path, 1_000, monkeypatch)


@pytest.mark.slow
@pytest.mark.fuzz
@pytest.mark.parametrize("kind", SEEDS)
def test_very_many_damaged_images(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuzz(kind, tmp_path, 100_000, monkeypatch)
