"""Images that are elsewhere: an index without contents, for the fake backend and the length of a run."""

from __future__ import annotations

import numpy as np

from pipelines.sources.source import Index

_SIDE = 256  # pixels, of every image
_CLASSES = 10


class AbsentSource:
    """``count`` images of ten classes whose contents cannot be read; a ``Source``."""

    def __init__(self, count: int) -> None:
        sides = np.full(count, _SIDE, np.int32)
        self.index = Index(
            sample_ids=np.arange(count),
            heights=sides,
            widths=sides,
            labels=np.arange(count) % _CLASSES,
            class_names=tuple(map(str, range(_CLASSES))),
            fingerprint=f"{count} absent images",
        )

    def read(self, index: int) -> bytes:
        """Raise ``OSError``."""
        raise OSError(f"{self.describe(index)} is not here")

    def describe(self, index: int) -> str:
        """Its index."""
        return f"image {index}"
