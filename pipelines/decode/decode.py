"""Encoded bytes to pixels: upright RGB, or a reason why not.

JPEGs go through libjpeg-turbo (``simplejpeg``), which frees the GIL, with the accurate DCT and "fancy"
upsampling, so that pixels equal Pillow's and torchvision's. Everything else, CMYK and unusual JPEGs too,
goes through Pillow, of a PNG the chunks that hold the picture (``pipelines.decode.png``). Alpha is dropped,
not composited, as ``Image.convert("RGB")`` does; of an animation the first frame counts; color profiles are
not applied.

Slightly broken JPEGs: damage to the pixels (a file that ends early, a bad Huffman code, a lost restart
marker, pixel data left over at the end) is refused, so that no half-gray image is trained on. What leaves the
pixels whole (padding, stray bytes between segments, a bad color profile, odd scan parameters) is left to
Pillow, which reads it and refuses a file that ends early. Many flipped bits no decoder can notice.

Budget: nothing beside libjpeg-turbo itself. ``python -m benchmarks.decode --data DIR`` on 256 ImageNet JPEGs:
1,001 core-us per image, 998 by simplejpeg alone; on generated ones of 500 x 375, quality 90, 695
(``python -m benchmarks.limits --data generated``), one core of a Zen 5.
"""

from __future__ import annotations

import re

import numpy as np
import simplejpeg
from PIL import Image

from pipelines.decode.header import (
    Encoded,
    JpegHeader,
    UndecodableImageError,
    exif_orientation,
    is_jpeg,
    jpeg_end,
    jpeg_header,
    open_with_pillow,
    png_size,
)
from pipelines.decode.png import is_png, picture_only

__all__ = ["MAX_PIXELS", "UndecodableImageError", "decode"]

# Beyond this an image is refused before it is decoded. Pillow's own limit: 512 MiB of RGB.
MAX_PIXELS = 178_956_970
_STRIP_PIXELS = 1 << 22  # converted to RGB at a time: Pillow takes four bytes for each, and copies them

# Parts of libjpeg's messages that mean that pixels are lost.
_DAMAGE = ("Premature end", "premature end", "bad Huffman", "bad arithmetic", "instead of RST")
_STRAY_BYTES = re.compile(r"(\d+) extraneous bytes before marker 0x(\w\w)")
_RESTART_0, _END_OF_IMAGE = 0xD0, 0xD9


def decode(data: Encoded | np.ndarray, buffer: np.ndarray | None = None) -> np.ndarray:
    """Decode an image and set it upright by its EXIF orientation.

    Args:
        data: an encoded JPEG, PNG, WebP or BMP; or pixels, uint8 [H, W, 3], which are handed back.
        buffer: writable uint8 [n]; if it is large enough, the result may be a view of it.

    Returns:
        uint8 [H, W, 3], C-contiguous.

    Raises:
        UndecodableImageError: truncated, corrupt, of another format, or of more than ``MAX_PIXELS`` pixels.
    """
    if isinstance(data, np.ndarray):
        return data
    if is_png(data):
        height, width, orientation = png_size(lambda at, count: bytes(data[at : at + count]), len(data))
        _refuse_bombs(height, width)
        return _decode_with_pillow(picture_only(data), orientation)
    if not is_jpeg(data):
        return _decode_with_pillow(data, orientation=None)
    header = jpeg_header(data)
    _refuse_bombs(header.height, header.width)
    if header.components in (1, 3):
        pixels = _decode_jpeg(data, header, buffer)
        if pixels is not None:
            return pixels if header.orientation == 1 else _upright(pixels, header.orientation)
    return _decode_with_pillow(data, orientation=header.orientation)


def _decode_jpeg(data: Encoded, header: JpegHeader, buffer: np.ndarray | None) -> np.ndarray | None:
    """uint8 [H, W, 3] as stored; None where libjpeg-turbo's reading needs a second opinion."""
    if buffer is not None and buffer.nbytes < header.height * header.width * 3:
        buffer = None
    try:
        pixels: np.ndarray = simplejpeg.decode_jpeg(
            data, "RGB", fastdct=False, fastupsample=False, buffer=buffer, strict=True
        )
    except ValueError as error:
        reason = str(error)
        if any(damage in reason for damage in _DAMAGE) or _lost_its_place(reason, data):
            raise UndecodableImageError(reason) from None
        return None
    return pixels


def _lost_its_place(reason: str, data: Encoded) -> bool:
    """True if bytes left over within or after the pixel data are pixel data: padding repeats one byte."""
    stray = _STRAY_BYTES.search(reason)
    if stray is None:
        return False
    count, marker = int(stray[1]), int(stray[2], 16)
    if marker == _END_OF_IMAGE:
        end = jpeg_end(bytes(data))
        return end < 0 or len(set(data[end - count : end])) > 1
    return _RESTART_0 <= marker < _END_OF_IMAGE


def _decode_with_pillow(data: Encoded, orientation: int | None) -> np.ndarray:
    with open_with_pillow(data) as image:
        _refuse_bombs(image.height, image.width)
        if orientation is None:
            orientation = exif_orientation(image.info.get("exif", b""))
        try:
            pixels = _to_rgb(image)
        except Exception as error:  # untrusted bytes: Pillow's parsers raise a dozen kinds
            raise UndecodableImageError(str(error) or type(error).__name__) from None
    return _upright(pixels, orientation)


def _to_rgb(image: Image.Image) -> np.ndarray:
    """Convert an image of any mode to uint8 [H, W, 3], a strip of rows at a time."""
    image.load()
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        whole = bottom - top == image.height
        strip = image if whole else image.crop((0, top, image.width, bottom))
        pixels[top:bottom] = _strip_to_rgb(strip)
    return pixels


def _strip_to_rgb(image: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3] of an image of any mode."""
    if image.mode == "I" or image.mode.startswith("I;16"):  # 16-bit gray, which Pillow would clip at 255
        gray = (np.asarray(image).astype(np.uint32) + 128) // 257  # 65535 / 255, to the nearest
        return np.repeat(gray.astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns where such a palette goes to RGB at once
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation (1 to 8): [H, W, 3] as stored to [H, W, 3] or [W, H, 3] as seen."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _refuse_bombs(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise UndecodableImageError(f"{width} x {height} pixels, more than {MAX_PIXELS} are not decoded")
