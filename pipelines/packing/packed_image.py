"""The form in which a packed data set stores an image: as it was, wherever that is possible.

Shards hold any encoded image, so that bytes are kept; pixels become PNG. A ``.beton`` holds pixels, and those
JPEGs that FFCV decodes right: upright ones of one or three components. What is neither (PNG, CMYK,
EXIF-rotated, ...) is stored as pixels, which loses nothing, and so is a JPEG that is larger than its pixels.
A ``raw_share`` asks for another mix: a keyed share as pixels, all else as JPEG.

What is resized is set upright and written as JPEG of 4:2:0, at ``quality``.
"""

from __future__ import annotations

import io
from typing import Literal, NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from pipelines.decode.header import Encoded, is_jpeg, jpeg_header, open_with_pillow
from pipelines.keys import uniforms
from pipelines.packing.options import Options

_RAW_STREAM = 1  # key of the draw of the raw share: another one than that of held-out samples


class PackedImage(NamedTuple):
    """An image in the form it is stored in."""

    data: Encoded | np.ndarray
    """The encoded image, or pixels, uint8 [H, W, 3]."""
    extension: str
    """File extension of the format, without the dot; "" for pixels."""
    height: int
    """Height of the upright image, pixels."""
    width: int
    """Width of the upright image, pixels."""
    change: Literal["kept", "resized", "re-encoded", "stored raw"]
    """Change made to the image."""


def pack_image(
    data: Encoded | np.ndarray, pixels: np.ndarray, sample_id: int, options: Options
) -> PackedImage:
    """Bring an image into the form of a packed data set.

    Args:
        data: as its source gives it.
        pixels: ``decode(data)``, uint8 [H, W, 3].
        sample_id: key of the draw for the raw share.
        options: give the container, the longest side, the quality and the raw share.
    """
    resized = options.max_side is not None and max(pixels.shape[:2]) > options.max_side
    if options.max_side is not None and resized:
        pixels = _scale_down(pixels, options.max_side)
    height, width, _ = pixels.shape
    kept = None if resized else data
    stored: Encoded | np.ndarray
    if options.container == "shards":
        stored, extension = _for_shards(kept, pixels, options.quality)
    else:
        stored, extension = _for_beton(kept, pixels, sample_id, options)
    if resized:
        return PackedImage(stored, extension, height, width, "resized")
    if stored is data:
        return PackedImage(stored, extension, height, width, "kept")
    return PackedImage(stored, extension, height, width, "re-encoded" if extension else "stored raw")


def _for_shards(kept: Encoded | np.ndarray | None, pixels: np.ndarray, quality: int) -> tuple[Encoded, str]:
    if kept is None:
        return _encode(pixels, quality), "jpg"
    if isinstance(kept, np.ndarray):
        file = io.BytesIO()
        Image.fromarray(kept).save(file, "PNG")
        return file.getvalue(), "png"
    if is_jpeg(kept):
        return kept, "jpg"
    with open_with_pillow(kept) as image:
        return kept, str(image.format).lower()  # png, webp, bmp


def _for_beton(
    kept: Encoded | np.ndarray | None, pixels: np.ndarray, sample_id: int, options: Options
) -> tuple[Encoded | np.ndarray, str]:
    jpeg: Encoded | None = None
    if kept is not None and not isinstance(kept, np.ndarray) and _suits_ffcv(kept):
        jpeg = kept
    if options.raw_share is None:
        raw = kept is not None and jpeg is None
    else:
        raw = uniforms(np.array([sample_id, _RAW_STREAM]), 1)[0] < options.raw_share
    if not raw:
        jpeg = jpeg or _encode(pixels, options.quality)
        if len(jpeg) <= pixels.nbytes:
            return jpeg, "jpg"
    return pixels, ""


def _suits_ffcv(data: Encoded) -> bool:
    if not is_jpeg(data):
        return False
    header = jpeg_header(data)
    return header.components in (1, 3) and header.orientation == 1


def _encode(pixels: np.ndarray, quality: int) -> bytes:
    return bytes(simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling="420", fastdct=False))


def _scale_down(pixels: np.ndarray, max_side: int) -> np.ndarray:
    height, width, _ = pixels.shape
    scale = max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
