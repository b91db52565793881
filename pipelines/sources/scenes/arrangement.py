"""What stands in one labeled image: shapes with their poses and materials, a lamp, a background.

The distributions are those of the authors' renderer (princeton-vl/selfstudy-render): z is up, the camera
stands at (1, 0, 0.4) and looks down at the origin. An arrangement is a pure function of (kind, number), and
every parameter has its own numbers, so that freeing one factor changes nothing else.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipelines.files.kernels import njit
from pipelines.keys import absorb, to_uniform, uniforms
from pipelines.sources.scenes.shapes import BUCKETS, CLASSES, INSTANCES, shape

Kind = Literal["single", "multi"]
# Texture, color, viewpoint, lighting: 1 is free. The paper renders twelve of the sixteen.
COMBINATIONS = (
    *("0000", "1000", "0100", "0010", "0001", "1100", "0110", "0101", "0111", "1110", "1011", "1111"),
)
SIDES: dict[Kind, int] = {"single": 64, "multi": 128}  # pixels
OBJECTS: dict[Kind, int] = {"single": 1, "multi": 4}
PER_BUCKET: dict[Kind, int] = {"single": 40_000, "multi": 25_000}  # images
TRAINING_BUCKETS = BUCKETS - 2  # then one for validation, and one for the test
POSES = ("0-up", "1-left", "2-back", "3-right", "4-front")  # where the top of a shape leans in the image

_STREAMS: dict[Kind, int] = {"single": 21, "multi": 22}  # never renumber, as all below
_PLACES, _SCENE_NUMBERS, _OBJECT_NUMBERS = 1, 16, 40
_TURN = slice(8, 14)  # of an object's numbers
_UPRIGHT = np.array([np.pi / 2, 0.0, -np.pi / 6])  # a shape's y axis becomes the world's z
_WOBBLE = 0.5  # standard deviation of a free viewpoint about each axis, radians
_TRIES = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Placed:
    """One shape in its place."""

    class_id: int
    """Position in CLASSES."""
    bucket: int
    instance: int
    rotation: np.ndarray
    """float64 [3, 3], from the shape's coordinates (y up) to the world's (z up)."""
    scale: np.ndarray
    """float64 [3], along the axes of the shape."""
    location: np.ndarray
    """float64 [3], of the center of its bounding box."""
    color: np.ndarray
    """float64 [3], linear RGB."""
    texture: int
    """Position in the textures; taken modulo their number."""
    texture_share: float
    """Of the texture in the color, in [0, 1]."""
    pose: int
    """Position in POSES."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Arrangement:
    """The content of one image."""

    objects: tuple[Placed, ...]
    lamp: np.ndarray
    """float64 [3], center of the lamp."""
    background: np.ndarray
    """float64 [3], linear RGB."""
    background_texture: int
    background_shift: tuple[float, float]
    """Of the texture, in its periods."""
    textured: bool


def bucket_of(kind: Kind, number: int) -> int:
    """The bucket of shapes of an image: training images take ten in turn, the others their own."""
    if number < TRAINING_BUCKETS * PER_BUCKET[kind]:
        return number // len(CLASSES) % TRAINING_BUCKETS
    return number // PER_BUCKET[kind]


def arrange(kind: Kind, number: int, combination: str) -> Arrangement:
    """Draw the arrangement of an image.

    Args:
        kind: "single" or "multi".
        number: 0 to BUCKETS * PER_BUCKET - 1; of a single shape, number n is of class n mod 10.
        combination: one of COMBINATIONS.
    """
    free_texture, free_color, free_viewpoint, free_lighting = (flag == "1" for flag in combination)
    count, key = OBJECTS[kind], np.array([_STREAMS[kind], number])
    row = uniforms(key, _SCENE_NUMBERS + count * _OBJECT_NUMBERS)
    angle = -0.5 + (2.0 if free_lighting else 0.0) * float(normals(row[0:2])[0])
    places = [np.zeros(3)] if count == 1 else _places(count, uniforms(np.append(key, _PLACES), 256))
    objects = []
    for position, place in enumerate(places):
        u = row[_SCENE_NUMBERS + position * _OBJECT_NUMBERS :][:_OBJECT_NUMBERS]
        class_id = number % len(CLASSES) if count == 1 else int(u[0] * len(CLASSES))
        warp = normals(u[2:8])
        rotation = euler(_UPRIGHT + (_WOBBLE if free_viewpoint else 0.0) * normals(u[_TURN]))
        objects.append(
            Placed(
                class_id=class_id,
                bucket=bucket_of(kind, number),
                instance=int(u[1] * INSTANCES),
                rotation=rotation,
                scale=0.7 * 0.8 * np.clip(1 + 0.1 * (warp - warp.mean()), 0.5, 1.5),
                location=place,
                color=u[20:23].copy() if free_color else class_color(class_id, normals(u[14:20])),
                texture=int(u[23] * (1 << 30)),
                texture_share=(1.0 if free_color else 0.6) if free_texture else 0.0,
                pose=int(pose_of(rotation[:, 1])),
            )
        )
    return Arrangement(
        objects=tuple(objects),
        lamp=np.array([0.0, 1.5 * math.sin(angle), 1.5 * math.cos(angle)]),
        background=row[2:5].copy(),
        background_texture=int(row[5] * (1 << 30)),
        background_shift=(float(row[6]), float(row[7])),
        textured=free_texture,
    )


def parts_in_world(placed: Placed) -> np.ndarray:
    """The parts of a placed shape in the world's coordinates, PART [n]."""
    parts = shape(placed.class_id, placed.bucket, placed.instance).copy()
    to_world = placed.scale[:, None] * placed.rotation.T  # of row vectors
    parts["center"] = parts["center"] @ to_world + placed.location
    parts["axes"] = parts["axes"] @ to_world
    return parts


def poses(first: int, count: int) -> np.ndarray:
    """The poses of single shapes from number ``first`` on where the viewpoint is free, int64 [count]."""
    u = _uniforms_at(_STREAMS["single"], first, count, _SCENE_NUMBERS + _TURN.start, _TURN.stop - _TURN.start)
    x, y, z = (_UPRIGHT + _WOBBLE * normals(u)).T
    sx, sy, sz, cx, cy, cz = np.sin(x), np.sin(y), np.sin(z), np.cos(x), np.cos(y), np.cos(z)
    return pose_of(np.stack([cz * sy * sx - sz * cx, sz * sy * sx + cz * cx, cy * sx]))


@njit(cache=True)
def _uniforms_at(stream: int, first: int, count: int, slot: int, width: int) -> np.ndarray:
    """``uniforms([stream, number], ...)[slot : slot + width]`` of a range of numbers, [count, width]."""
    out = np.empty((count, width))
    for i in range(count):
        state = absorb(absorb(np.uint64(0), stream), first + i)
        for j in range(width):
            out[i, j] = to_uniform(absorb(state, slot + j))
    return out


def pose_of(top: np.ndarray) -> np.ndarray:
    """The bins of the directions of shapes' tops: within pi/8 of up, or one of four quadrants.

    Args:
        top: float64 [3, ...], the second column of the rotation.

    Returns:
        int64 [...], positions in POSES.
    """
    x, y, z = top
    lean = np.arctan2(x, y)
    quadrant = np.searchsorted(np.pi * np.array([-0.75, -0.25, 0.25, 0.75]), lean, side="right")
    return np.where(np.arctan2(np.hypot(x, y), z) < np.pi / 8, 0, quadrant % 4 + 1)


def class_color(class_id: int, offsets: np.ndarray) -> np.ndarray:
    """A color near the hue of a class, float64 [3]: HSV whose hue, saturation and value vary normally."""
    hue = (class_id / len(CLASSES) + 0.06 * offsets[0]) % 1
    saturation, value = np.clip(np.array([0.6, 0.8]) + 0.2 * offsets[1:], 0, 1).tolist()
    return np.array(colorsys.hsv_to_rgb(float(hue), saturation, value))


def euler(angles: np.ndarray) -> np.ndarray:
    """Rotation [3, 3] about x, then y, then z."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(angles).tolist(), np.cos(angles).tolist()
    return np.array(
        [
            [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
            [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
            [-sy, cy * sx, cy * cx],
        ]
    )


def normals(u: np.ndarray) -> np.ndarray:
    """Standard normal numbers [..., n] of uniform numbers [..., 2 n] (Box and Muller, 1958)."""
    return np.sqrt(-2 * np.log1p(-u[..., 0::2])) * np.cos(2 * np.pi * u[..., 1::2])


def _places(count: int, u: np.ndarray) -> list[np.ndarray]:
    """Locations on a chain of steps of 0.35, at least 0.25 apart where ten tries find such a step."""
    chain = [np.zeros(2)]
    step = 0
    for _ in range(count - 1):
        for _ in range(_TRIES):
            angle, length = 2 * np.pi * u[3 * step], 0.35 + 0.035 * normals(u[3 * step + 1 : 3 * step + 3])[0]
            point = chain[-1] + length * np.array([np.cos(angle), np.sin(angle)])
            step += 1
            if min(np.hypot(*(point - other)) for other in chain) >= 0.25:
                break
        chain.append(point)
    level = 0.05 + 0.05 * normals(u[-2 * count :])
    plane = np.array(chain) - np.mean(chain, 0) + np.array([0.05, 0.0])
    return [np.append(xy, z) for xy, z in zip(plane, level, strict=True)]
