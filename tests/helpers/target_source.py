"""A source in memory whose images have targets of every kind."""

from __future__ import annotations

import numpy as np

from pipelines.targets import IGNORED, TargetKind, Targets
from tests.helpers.memory_source import MemorySource

_MOST_OBJECTS = 4


class MemoryTargetSource(MemorySource):
    """Images of ``MemorySource``, every fifth of them without objects."""

    target_kinds: frozenset[TargetKind] = frozenset({"boxes", "masks", "segmentation", "depth"})

    def targets(self, index: int) -> Targets:
        height, width = int(self.index.heights[index]), int(self.index.widths[index])
        return random_targets(np.random.default_rng(index), height, width, index % (_MOST_OBJECTS + 1))


def random_targets(generator: np.random.Generator, height: int, width: int, count: int) -> Targets:
    """Targets of ``count`` objects, each a rectangle of whole pixels that its box fits."""
    lefts, tops = generator.integers(0, width, count), generator.integers(0, height, count)
    rights, bottoms = generator.integers(lefts, width) + 1, generator.integers(tops, height) + 1
    y, x = np.arange(height)[:, None], np.arange(width)
    masks = np.zeros((count, height, width), bool)
    for mask, left, top, right, bottom in zip(masks, lefts, tops, rights, bottoms, strict=True):
        mask[:] = (left <= x) & (x < right) & (top <= y) & (y < bottom)
    segmentation = generator.integers(0, 19, (height, width)).astype(np.uint8)
    segmentation[generator.random((height, width)) < 0.1] = IGNORED
    return Targets(
        height=height,
        width=width,
        boxes=np.stack([lefts, tops, rights, bottoms], 1).astype(np.float32),
        classes=generator.integers(0, 5, count),
        areas=masks.sum((1, 2)).astype(np.float32),
        difficult=generator.random(count) < 0.3,
        crowd=generator.random(count) < 0.3,
        masks=masks,
        segmentation=segmentation,
        depth=generator.random((height, width), np.float32) + 1,
    )
