"""Decode a sample of a source, or record it as a bad image."""

from __future__ import annotations

import numpy as np

from pipelines.decode.bad_images import BadImages
from pipelines.decode.decode import UndecodableImageError, decode
from pipelines.sources import Source
from pipelines.sources.reading import read_sample

_MOST_KEPT = 1 << 26  # bytes: an image of 22 megapixels


class PixelScratch:
    """Memory that one thread decodes to, kept from image to image."""

    def __init__(self) -> None:
        self._pixels = np.empty(0, np.uint8)

    def grown(self, size: int) -> np.ndarray:
        """Room for ``size`` bytes of pixels, uint8; less for a huge image."""
        if len(self._pixels) < size <= _MOST_KEPT:
            self._pixels = np.empty(size, np.uint8)
        return self._pixels


def decode_sample(
    source: Source, index: int, bad_images: BadImages, out: np.ndarray | None = None
) -> np.ndarray | None:
    """Decode a sample.

    Args:
        source: called from many threads.
        index: of the sample in the source.
        bad_images: takes note of one that cannot be decoded, or is not of the size in the index.
        out: where to decode to, if possible: uint8 [n]; one that is too small is left alone.

    Returns:
        uint8 [H, W, 3], a view of ``out`` or not; None where it cannot be decoded.

    Raises:
        UserError: the sample cannot be read, which is no fault of the image.
    """
    height, width = int(source.index.heights[index]), int(source.index.widths[index])
    try:
        image = decode(read_sample(source, index), out)
        if image.shape[:2] != (height, width):
            raise UndecodableImageError(
                f"size {image.shape[0]}x{image.shape[1]} is not the {height}x{width} of its header"
            )
        return image
    except UndecodableImageError as error:
        bad_images.record(source.describe(index), str(error))
        return None
