"""Where rays meet placed shapes, in numpy and the world's coordinates, by other means than the renderer's.

A box is its twelve triangles (Moeller and Trumbore, 1997), a ball and a frustum are quadrics whose roots are
kept where they lie on the solid, with their caps as planes. The camera is Blender's: a lens of 50 mm and a
sensor of 36 mm at (1, 0, 0.4), turned from straight down by 0.36 pi about x and then by pi / 2 about z.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.spatial.transform import Rotation

from pipelines.sources.scenes.arrangement import Arrangement, Placed
from pipelines.sources.scenes.parts import BALL, BOX
from pipelines.sources.scenes.shapes import shape

EYE = np.array([1.0, 0.0, 0.4])
TURN = Rotation.from_euler("xyz", [0.36 * math.pi, 0, math.pi / 2]).as_matrix()
NEAR = 0.1
PLANE_DEPTH = float((np.array([-3.0, 0.0, -1.2]) - EYE) @ TURN @ [0, 0, -1])


def rays(side: int) -> np.ndarray:
    """Directions through the centers of the pixels, float64 [side * side, 3]; 1 along the camera's axis."""
    place = (np.arange(side) + 0.5) / side - 0.5
    columns, rows = np.meshgrid(place * 36 / 50, -place * 36 / 50)
    return np.stack([columns.ravel(), rows.ravel(), np.full(side * side, -1.0)], -1) @ TURN.T


def depths_and_owners(arrangement: Arrangement, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Depth of what each pixel's center shows, and its object, [side, side] each; -1: the background."""
    directions = rays(side)
    depths, owners = np.full(side * side, PLANE_DEPTH), np.full(side * side, -1)
    for number, placed in enumerate(arrangement.objects):
        for part in shape(placed.class_id, placed.bucket, placed.instance):
            t = enter(part, placed, directions)
            nearer = (t > NEAR) & (t < depths)
            depths[nearer], owners[nearer] = t[nearer], number
    return depths.reshape(side, side), owners.reshape(side, side)


def enter(part: np.void, placed: Placed, directions: np.ndarray) -> np.ndarray:
    """The first of all places, before the eye or behind it, where a ray crosses a part's surface, [n]."""
    to_world = placed.rotation @ np.diag(placed.scale)
    center = to_world @ part["center"] + placed.location
    axes = to_world @ part["axes"].T  # columns
    if part["kind"] == BOX:
        return enter_box(center, axes, float(part["taper"]), directions)
    return enter_quadric(center, axes, int(part["kind"]), float(part["taper"]), directions)


def enter_box(center: np.ndarray, axes: np.ndarray, taper: float, directions: np.ndarray) -> np.ndarray:
    def corner(x: int, y: int, z: int) -> np.ndarray:
        width = 1 if z < 0 else taper
        return center + axes @ np.array([x * width, y * width, z])

    best = np.full(len(directions), np.inf)
    for axis, end in itertools.product(range(3), (-1, 1)):
        square = []
        for spots in ([-1, -1], [-1, 1], [1, 1], [1, -1]):
            spots.insert(axis, end)
            square.append(corner(*spots))
        a, b, c, d = square
        best = np.minimum(best, meet_triangle(a, b, c, directions))
        best = np.minimum(best, meet_triangle(c, d, a, directions))
    return best


def meet_triangle(a: np.ndarray, b: np.ndarray, c: np.ndarray, directions: np.ndarray) -> np.ndarray:
    first, second = b - a, c - a
    normal = np.cross(directions, second)
    with np.errstate(all="ignore"):
        scale = 1 / (normal @ first)
        u = (normal @ (EYE - a)) * scale
        q = np.cross(EYE - a, first)
        v = (directions @ q) * scale
        t = (q @ second) * scale
    return np.where((u >= 0) & (v >= 0) & (u + v <= 1) & np.isfinite(t), t, np.inf)


def enter_quadric(
    center: np.ndarray, axes: np.ndarray, kind: int, taper: float, directions: np.ndarray
) -> np.ndarray:
    inverse = np.linalg.inv(axes)
    top = taper if kind == BALL else 1.0
    # The surface is p' Q p = 0 with p = (x, y, z, 1) in units of the axes.
    middle, slope = (1 + taper) / 2, (taper - 1) / 2
    if kind == BALL:
        matrix = np.diag([1.0, 1, 1, -1])
    else:
        matrix = np.diag([1.0, 1, -slope * slope, -middle * middle])
        matrix[2, 3] = matrix[3, 2] = -slope * middle
    start, along = np.append(inverse @ (EYE - center), 1), directions @ inverse.T
    along = np.column_stack([along, np.zeros(len(along))])
    a, b, c = ((along @ matrix) * along).sum(1), along @ matrix @ start, start @ matrix @ start
    with np.errstate(all="ignore"):
        root = np.sqrt(b * b - a * c)
        found = [(-b - root) / a, (-b + root) / a]
        caps = [(top - start[2]) / along[:, 2]]
        if kind != BALL:
            caps.append((-1 - start[2]) / along[:, 2])
    best = np.full(len(directions), np.inf)
    for t in found:
        z = start[2] + t * along[:, 2]
        best = np.where((z >= -1) & (z <= top) & (t < best), t, best)
    for t in caps:
        x, y, z = (start[k] + t * along[:, k] for k in range(3))
        wide = 1 - z * z if kind == BALL else (middle + slope * z) ** 2
        best = np.where((x * x + y * y <= wide) & (t < best), t, best)
    return best
