"""Ten classes of shapes, each with 768 instances in twelve buckets.

The classes are the ten of ShapeNet that Newell and Deng, "How useful is self-supervised pretraining for
visual tasks?" (2020), render; its models may not be passed on, so these are made of convex parts. As there,
shapes are dealt to twelve buckets: a shape of the training images is in no validation or test image.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from pipelines.keys import uniforms
from pipelines.sources.scenes.furniture import Draw, Parts, bench, cabinet, chair, lamp, sofa, table
from pipelines.sources.scenes.parts import BALL, BOX
from pipelines.sources.scenes.vehicles import airplane, car, motorcycle, vessel

_BUILDERS: tuple[Callable[[Draw], Parts], ...] = (
    *(airplane, bench, cabinet, car, chair, lamp, motorcycle, sofa, table, vessel),
)
CLASSES = tuple(builder.__name__ for builder in _BUILDERS)
BUCKETS = 12
INSTANCES = 64  # of a class in a bucket
_STREAM = 20  # of shapes; never renumber
_NUMBERS = 128  # more than any builder draws


@cache
def shape(class_id: int, bucket: int, instance: int) -> np.ndarray:
    """The parts of a shape, y up, its front along -z; the longest side of its bounding box is 1.

    Returns:
        PART [n], read-only, the bounding box centered at the origin.
    """
    numbers = iter(uniforms(np.array([_STREAM, class_id, bucket, instance]), _NUMBERS).tolist())

    def draw(low: float, high: float) -> float:
        return low + (high - low) * next(numbers)

    parts = np.concatenate(_BUILDERS[class_id](draw))
    low, high = bounds(parts)
    side = (high - low).max()
    parts["center"] = (parts["center"] - (low + high) / 2) / side
    parts["axes"] /= side
    parts.flags.writeable = False
    return parts


def bounds(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners of the bounding box of parts, float64 [3] each; those of balls are known within 1 %."""
    points = np.concatenate(
        [part["center"] + _surface(int(part["kind"]), float(part["taper"])) @ part["axes"] for part in parts]
    )
    return points.min(0), points.max(0)


@cache
def _surface(kind: int, taper: float) -> np.ndarray:
    """Points of a unit solid, float64 [n, 3], its extremes among them."""
    if kind == BOX:
        corners = np.array([(x, y) for x in (-1.0, 1.0) for y in (-1.0, 1.0)])
    else:
        turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
        corners = np.stack([np.cos(turn), np.sin(turn)], -1)
    if kind == BALL:
        heights = np.append(np.sin(np.linspace(-np.pi / 2, np.arcsin(taper), 17)), 0.0)
        widths = np.sqrt(1 - heights**2)
    else:
        heights, widths = np.array([-1.0, 1.0]), np.array([1.0, taper])
    rings = [
        np.column_stack([width * corners, np.full(len(corners), height)])
        for width, height in zip(widths, heights, strict=True)
    ]
    return np.concatenate(rings)
