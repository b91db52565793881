"""Work of contenders with output "detection": images with boxes, resized by short side, mirrored."""

from __future__ import annotations

import numpy as np

DETECTION_CASES = (
    ("fastssl", "detection"),
    ("torchvision", "detection"),
    ("torchvision", "detection-uint8"),
)
DETECTION_BATCH = 16
SHORT_SIDES = tuple(range(480, 801, 32))  # MoCo's for VOC
LONGEST = 1333
_OBJECTS = 7  # in an image of COCO, on average


def boxes_of(number: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of an image, float32 [n, 4], left, top, right, bottom, and their classes, int64 [n]."""
    generator = np.random.default_rng(number)
    ends = np.sort(generator.uniform(0, 1, (_OBJECTS, 2, 2)), 1) * (width, height)
    return ends.reshape(_OBJECTS, 4).astype(np.float32), generator.integers(0, 80, _OBJECTS)
