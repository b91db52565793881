"""A source in memory for the tests of what reads sources."""

from __future__ import annotations

import io
import threading
from typing import Self

import numpy as np
import simplejpeg
from PIL import Image

from pipelines.sources import Index


def photograph(number: int, height: int, width: int) -> np.ndarray:
    """Smooth colors and a few edges, uint8 [H, W, 3]; different for each number."""
    generator = np.random.default_rng(number)
    small = generator.uniform(0, 255, (4, 5, 3)).astype(np.uint8)
    image = np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    top, left = generator.integers(0, height // 2), generator.integers(0, width // 2)
    image[top : top + height // 4, left : left + width // 3] = generator.integers(0, 256, 3)
    return image


def pixels_of(data: bytes) -> np.ndarray:
    """Decoded by Pillow, uint8 [H, W, 3]."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


class MemorySource:
    """JPEGs of several sizes; a ``Source``.

    Attributes:
        files: the encoded bytes, to be spoilt by tests.
        reads: the indices that were read, in order.
        wait: cleared, it holds up every read.
    """

    def __init__(self, count: int, labeled: bool = True) -> None:
        generator = np.random.default_rng(count)
        heights = generator.integers(30, 70, count).astype(np.int32)
        widths = generator.integers(30, 70, count).astype(np.int32)
        self.files = [
            simplejpeg.encode_jpeg(photograph(i, int(heights[i]), int(widths[i])), quality=95)
            for i in range(count)
        ]
        self.index = Index(
            sample_ids=generator.integers(-(1 << 62), 1 << 62, count),
            heights=heights,
            widths=widths,
            labels=np.arange(count) * 7 % 5 if labeled else None,
            class_names=tuple("abcde") if labeled else (),
            fingerprint=f"memory of {count}",
        )
        self.reads: list[int] = []
        self.wait = threading.Event()
        self.wait.set()

    def cut_off(self, *indices: int) -> Self:
        """Itself, these files without their second half."""
        for index in indices:
            self.files[index] = self.files[index][: len(self.files[index]) // 2]
        return self

    def read(self, index: int) -> bytes:
        self.reads.append(index)
        assert self.wait.wait(60)
        return self.files[index]

    def describe(self, index: int) -> str:
        return f"memory/{index}.jpg"
