"""Sizes of JPEGs by a kernel: those of ``image_size``, or left to it."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.decode.header import UndecodableImageError, image_size
from pipelines.decode.header_kernel import jpeg_sizes, size_of_start
from pipelines.sources.image_sizes import sizes_from_headers


def jpeg(orientation: int | None, *, height: int = 20, width: int = 300, comment: int = 0) -> bytes:
    """A JPEG as Pillow writes it, with a comment of so many bytes before its frame."""
    exif = Image.Exif()
    if orientation is not None:
        exif[0x010F], exif[0x0112] = "a camera", orientation
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "jpeg", exif=exif, comment=b"\xff" * comment)
    return file.getvalue()


def from_kernel(data: bytes) -> tuple[int, int]:
    height, width = size_of_start(np.frombuffer(bytearray(data), np.uint8))
    return height, width


@pytest.mark.parametrize("orientation", [None, *range(10)])
def test_sizes_are_those_of_the_upright_image(orientation: int | None) -> None:
    data = jpeg(orientation)
    turned = orientation is not None and 5 <= orientation <= 8
    assert from_kernel(data) == image_size(data) == ((300, 20) if turned else (20, 300))


def test_big_endian_and_long_orientations_are_read() -> None:
    block = b"MM\0*\0\0\0\x08" + b"\0\1" + bytes.fromhex("0112 0004 00000001 00000006") + bytes(4)
    segment = b"Exif\0\0" + block
    data = b"\xff\xd8\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg(None)[2:]
    assert from_kernel(data) == image_size(data) == (300, 20)


@settings(max_examples=400, deadline=None)
@given(
    orientation=st.sampled_from([None, 1, 6]),
    changes=st.lists(st.tuples(st.integers(2, 250), st.integers(0, 255)), max_size=4),
    end=st.integers(0, 700),
)
def test_whatever_the_bytes_it_agrees_or_leaves_them(
    orientation: int | None, changes: list[tuple[int, int]], end: int
) -> None:
    damaged = bytearray(jpeg(orientation))
    for place, value in changes:
        damaged[place] = value
    damaged = damaged[:end] if end < 600 else damaged
    try:
        expected = image_size(bytes(damaged))
    except UndecodableImageError:
        expected = (0, 0)
    assert from_kernel(bytes(damaged)) in (expected, (0, 0))
    if not changes and end >= 600:
        assert from_kernel(bytes(damaged)) == expected != (0, 0)


def test_files_that_it_leaves_are_read_by_the_reference(tmp_path: Path) -> None:
    Image.new("RGB", (30, 40)).save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(jpeg(6))
    (tmp_path / "c.jpg").write_bytes(jpeg(6, comment=20_000))  # the header ends after 16 KiB
    (tmp_path / "d.jpg").write_bytes(b"")
    (tmp_path / "e\xe9.jpg").write_bytes(jpeg(1))
    os.symlink(tmp_path / "b.jpg", tmp_path / "f.jpg")
    os.symlink(tmp_path / "nowhere", tmp_path / "g.jpg")
    os.mkfifo(tmp_path / "h.jpg")
    (tmp_path / "i.jpg").mkdir()
    paths = sorted(map(str, tmp_path.iterdir()))
    left = [0, 0]
    by_kernel = [left, [300, 20], left, left, [20, 300], [300, 20], left, left, left]
    assert jpeg_sizes(paths).tolist() == by_kernel
    by_kernel[0], by_kernel[2] = [40, 30], [300, 20]
    assert sizes_from_headers(paths).tolist() == by_kernel
