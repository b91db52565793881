"""Size and EXIF orientation of an encoded image, read without decoding it.

JPEG, which is nearly all there is, is parsed here in a few microseconds (ITU-T T.81, annex B), PNG by
``pipelines.decode.png``; WebP and BMP go through Pillow, which reads their headers only. Of an orientation
that is told twice the first counts, as for Pillow, torchvision and exiftool.
"""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from pipelines.decode.png import SIGNATURE as PNG_SIGNATURE
from pipelines.decode.png import is_png, png_header
from pipelines.files.patience import open_regular, read_at

Encoded = bytes | memoryview

# In lower case; files may have any case. .jpe and .jfif are other names of JPEG.
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp")
# Images that are not read, so that those left out can be counted.
FOREIGN_EXTENSIONS = (
    *(".tif", ".tiff", ".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".ppm", ".pgm", ".tga", ".psd"),
    *(".svg", ".ico", ".dng", ".nef", ".cr2", ".arw", ".exr"),
)
# Pillow's readers themselves: ``Image.open`` would try all of them, and warn of images half as large as ours
_READERS = (
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (PNG_SIGNATURE, PngImagePlugin.PngImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
)
# Bytes read of a file for its header, the next where they do not hold it: nearly all photographs' end within
# the first, and what is longer than the last is not looked at.
_PREFIXES = (1 << 14, 1 << 20, 1 << 28)
_MARKER = re.compile(b"\xff")
_ORIENTATION = 0x0112  # EXIF tag

# Start-of-frame markers: FFC0 to FFCF without DHT (C4), JPG (C8) and DAC (CC).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset([0x01, *range(0xD0, 0xD9)])  # TEM, RSTn, SOI
_EXIF_SEGMENT, _START_OF_SCAN, _END_OF_IMAGE = 0xE1, 0xDA, 0xD9


class UndecodableImageError(ValueError):
    """The bytes are no whole image of a known format; the message says why."""


class JpegHeader(NamedTuple):
    """Header of a JPEG."""

    height: int
    """Pixels, as stored, before the orientation is applied."""
    width: int
    """Pixels, as stored."""
    components: int
    """Number of components: 1 gray, 3 color, 4 CMYK or YCCK."""
    orientation: int
    """EXIF orientation, 1 (upright) to 8."""


def is_jpeg(data: Encoded) -> bool:
    """True if the bytes begin as a JPEG does, whatever the file is called."""
    return len(data) > 2 and data[0] == 0xFF and data[1] == 0xD8 and data[2] == 0xFF


def jpeg_header(data: Encoded) -> JpegHeader:
    """Parse the segments of a JPEG up to its start-of-frame.

    Raises:
        UndecodableImageError: there is none in ``data``.
    """
    exif, position = None, 2
    try:
        while True:
            if data[position] != 0xFF:  # bytes between segments are skipped, as libjpeg does
                found = _MARKER.search(data, position)
                position = found.start() if found else len(data)
            while data[position] == 0xFF:
                position += 1
            marker = data[position]
            if marker in _WITHOUT_LENGTH or marker == 0:
                position += 1
                continue
            if marker in (_START_OF_SCAN, _END_OF_IMAGE):
                raise UndecodableImageError("JPEG without a frame header")
            (length,) = struct.unpack_from(">H", data, position + 1)
            if marker in _START_OF_FRAME:
                height, width, components = struct.unpack_from(">HHB", data, position + 4)
                break
            is_exif = marker == _EXIF_SEGMENT and data[position + 3 : position + 9] == b"Exif\0\0"
            if is_exif and exif is None:
                exif = bytes(data[position + 9 : position + 1 + length])
            position += 1 + length
    except (IndexError, struct.error):
        raise UndecodableImageError("JPEG ends within its header") from None
    if height == 0 or width == 0:
        raise UndecodableImageError("JPEG of no height or width")
    return JpegHeader(height, width, components, exif_orientation(exif or b""))


def jpeg_end(data: bytes) -> int:
    """Place of the end-of-image marker of the first image in ``data``; -1 where it has none.

    Other images may follow (MPO, gain maps, motion photos), and segments may hold one as a thumbnail.
    """
    position = 2
    while (position := data.find(b"\xff", position)) >= 0 and position + 1 < len(data):
        marker = data[position + 1]
        if marker == _END_OF_IMAGE:
            return position
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker == 0 or marker in _WITHOUT_LENGTH:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return -1


def exif_orientation(exif: bytes) -> int:
    """The orientation in an EXIF block (a TIFF structure), 1 where it has none or is broken."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if tag == _ORIENTATION:
                value: int = struct.unpack_from(order + ("I" if kind == 4 else "H"), exif, entry + 8)[0]
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass  # a broken EXIF block does not make the picture unreadable
    return 1


def open_with_pillow(data: Encoded) -> Image.Image:
    """A Pillow image of a known format, its header read and its pixels not.

    Raises:
        UndecodableImageError: not such an image.
    """
    start = bytes(data[:16])
    reader = next((reader for signature, reader in _READERS if start.startswith(signature)), None)
    if reader is None or (start[:4] == b"RIFF" and start[8:12] != b"WEBP"):
        raise UndecodableImageError("no JPEG, PNG, WebP or BMP image" if len(data) else "empty file")
    try:
        return reader(io.BytesIO(data))
    except Exception as error:  # untrusted bytes: Pillow's parsers raise a dozen kinds
        reason = str(error) or type(error).__name__
    raise UndecodableImageError(reason)


def image_size(data: Encoded) -> tuple[int, int]:
    """Height and width in pixels of an encoded image set upright, without decoding it.

    Args:
        data: the encoded image; of a JPEG or BMP a beginning that holds the header is enough.

    Raises:
        UndecodableImageError: no header of a known format in ``data``.
    """
    if is_jpeg(data):
        header = jpeg_header(data)
        height, width, orientation = header.height, header.width, header.orientation
    elif is_png(data):
        height, width, orientation = png_size(lambda at, count: bytes(data[at : at + count]), len(data))
    else:
        with open_with_pillow(data) as image:
            (width, height), orientation = image.size, exif_orientation(image.info.get("exif", b""))
    return _upright_size(height, width, orientation)


def _upright_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    return (width, height) if orientation >= 5 else (height, width)


def png_size(read: Callable[[int, int], bytes], length: int) -> tuple[int, int, int]:
    """Height and width as stored, and orientation, of a PNG; see ``pipelines.decode.png.png_header``.

    Raises:
        UndecodableImageError: it has no header.
    """
    found = png_header(read, length)
    if found is None:
        raise UndecodableImageError("PNG without a header")
    height, width, exif = found
    if height == 0 or width == 0:
        raise UndecodableImageError("PNG of no height or width")
    return height, width, exif_orientation(exif)


def image_size_of_file(path: str | Path) -> tuple[int, int]:
    """``image_size`` of a file, reading no more of it than needed.

    Raises:
        UndecodableImageError: no image of a known format.
        OSError: the file cannot be read.
    """
    descriptor = open_regular(path)
    try:
        return image_size_at(descriptor, 0, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def image_size_at(descriptor: int, offset: int, length: int) -> tuple[int, int]:
    """``image_size`` of the image that fills ``length`` bytes of an open file from ``offset`` on.

    Raises:
        UndecodableImageError: no image of a known format.
        OSError: the file cannot be read.
    """

    def read(at: int, count: int) -> bytes:
        return read_at(descriptor, offset + at, max(0, min(count, length - at)))

    for prefix in _PREFIXES:
        data = read(0, prefix)
        if is_png(data):
            return _upright_size(*png_size(read, length))
        try:
            return image_size(data)
        except UndecodableImageError:
            if length <= prefix or prefix == _PREFIXES[-1]:
                raise
    raise AssertionError("unreachable")
