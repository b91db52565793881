"""Objects in images: classes of which an image may have several, and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Objects:
    """M objects in N images, one image's after the other's."""

    offsets: np.ndarray
    """int64 [N + 1]: image n has the objects from ``offsets[n]`` to before ``offsets[n + 1]``."""
    labels: np.ndarray
    """int64 [M], position in the class names of the index."""
    boxes: np.ndarray
    """float32 [M, 4], left, top, right, bottom, pixels from the corner of the upright image."""
    difficult: np.ndarray
    """bool [M], objects that are hard to recognize and do not count in evaluations."""

    def at(self, indices: np.ndarray) -> Objects:
        """Objects of the images at ``indices``, int64 [K], in that order."""
        counts = np.diff(self.offsets)[indices]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        chosen = np.repeat(self.offsets[indices] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Objects(
            offsets=offsets,
            labels=self.labels[chosen],
            boxes=self.boxes[chosen],
            difficult=self.difficult[chosen],
        )

    def relabeled(self, table: np.ndarray) -> Objects:
        """The same objects with ``table[label]`` for each label, int64 [C]."""
        return replace(self, labels=table[self.labels])

    @staticmethod
    def joined(parts: Sequence[Objects]) -> Objects:
        """Objects of the images of all parts, one part after the other."""
        counts = np.concatenate([np.diff(part.offsets) for part in parts])
        return Objects(
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            labels=np.concatenate([part.labels for part in parts]),
            boxes=np.concatenate([part.boxes for part in parts]),
            difficult=np.concatenate([part.difficult for part in parts]),
        )

    def presence(self, num_classes: int) -> np.ndarray:
        """Classes of each image, int8 [N, C]: 1 present, 0 absent, -1 present in difficult objects alone."""
        images = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        found = np.zeros((len(self.offsets) - 1, num_classes), np.int8)
        found[images, self.labels] = -1
        found[images[~self.difficult], self.labels[~self.difficult]] = 1
        return found

    def content(self) -> bytes:
        """All of it as bytes, the same on every machine, for fingerprints."""
        arrays = (
            self.offsets.astype("<i8"),
            self.labels.astype("<i8"),
            self.boxes.astype("<f4"),
            self.difficult.astype("u1"),
        )
        return b"".join(array.tobytes() for array in arrays)
