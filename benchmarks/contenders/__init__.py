"""Loaders, ours and others', behind one function each, so that a benchmark can let them take turns.

Each module of this folder has a dictionary ``PRODUCTS`` of functions that take a ``Work`` and return a
``Pass``: "views" (the whole chain), "crops" (crop, resize and flip only), "pixels" (images decoded into a
batch) or "decode" (images decoded one by one). It imports its package when it is imported itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from pipelines.views import ViewSpec

OTHERS = ("torchvision", "pillow", "dali", "ffcv", "opencv")

# The augmentation of Huang et al. (2022), table A.1.
CHAIN = ViewSpec(
    size=224,
    scale=(0.08, 1.0),
    jitter_p=0.8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.2,
    hue=0.1,
    grey_p=0.2,
    blur_p=0.5,
    blur_sigma=(0.1, 2.0),
    solarize_p=0.2,
)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a contender has to do with every JPEG of a folder.

    Attributes:
        folder: holds the files, named ``*.jpg``, upright and in colour.
        views: of each image.
        threads: or processes, that work at the same time.
        batch_size: images.
        spec: the operations.
    """

    folder: Path
    views: int
    threads: int = 1
    batch_size: int = 64
    spec: ViewSpec = CHAIN

    def files(self) -> list[str]:
        """The files' paths, sorted."""
        return sorted(str(path) for path in self.folder.glob("*.jpg"))


Images = Sequence[np.ndarray] | np.ndarray  # [B], uint8 [H, W, 3] each
Batch = Sequence[Images] | np.ndarray  # [K]; valid until the next one
Pass = Callable[[], Iterator[Batch]]  # one pass over all files


def open_contender(name: str, product: str, work: Work) -> Pass:
    """Set a contender up for its work: threads are started, memory is taken.

    Raises:
        ImportError: its package is not installed.
    """
    return import_module(f"{__name__}.{name}").PRODUCTS[product](work)


def decode_each(work: Work, decode: Callable[[bytes], np.ndarray]) -> Pass:
    """A pass that reads and decodes one file after the other; none is kept."""

    def run() -> Iterator[Batch]:
        for file in work.files():
            with open(file, "rb", buffering=0) as opened:
                data = opened.read()
            yield ((decode(data),),)

    return run
