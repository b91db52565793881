"""fastssl's loader with next to nothing to decode and to render: what Python costs it an image.

The source hands over pixels, which the decoder passes on, of images of 1 x 1, and views are 1 x 1 too. What
is left is drawing, scheduling, and calling the kernels, from all threads at once.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.contenders import Pass, Work
from benchmarks.contenders.fastssl import passes
from pipelines.sources import Index

_COUNT = 1 << 13


class _TinySource:
    """Images of one pixel, in memory (a ``Source``)."""

    def __init__(self) -> None:
        self._pixels = np.zeros((1, 1, 3), np.uint8)
        sides = np.ones(_COUNT, np.int32)
        self.index = Index(
            sample_ids=np.arange(_COUNT),
            heights=sides,
            widths=sides,
            labels=None,
            class_names=(),
            fingerprint="one pixel each",
        )

    def read(self, index: int) -> np.ndarray:
        return self._pixels

    def describe(self, index: int) -> str:
        return f"pixel {index}"


def _views(work: Work) -> Pass:
    return passes(replace(work, spec=replace(work.spec, size=1)), _TinySource())


OUTPUTS = {"views": _views}
