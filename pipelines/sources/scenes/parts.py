"""Convex parts that shapes are made of, and where a ray enters one.

A part is an affine image of a unit solid inside the cube from -1 to 1: a point p of the unit solid stands at
``center + p @ axes``. Along the unit z the box and the frustum narrow from full width at z = -1 to ``taper``
at z = 1 (taper 1: a box, a cylinder; taper 0: a pyramid, a cone); the ball is cut off above z = ``taper``
(taper 1: whole, 0: half). A ray meets them in closed form: distances are exact, not found by steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipelines.files.kernels import njit

BOX, BALL, FRUSTUM = range(3)
PART = np.dtype(
    [
        ("kind", "i4"),  # BOX, BALL or FRUSTUM
        ("taper", "f8"),  # in [0, 1]
        ("center", "f8", (3,)),
        ("axes", "f8", (3, 3)),  # rows: half axes, independent, not always orthogonal
    ]
)
MISS = np.inf
_SIDE, _TOP, _BOTTOM, _RIGHT, _LEFT, _BACK, _FRONT = range(7)  # faces; SIDE is the curved one
_PARALLEL = 1e-12

Vector = Sequence[float]


def box(center: Vector, size: Vector, taper: float = 1.0) -> np.ndarray:
    """A box, PART [1], of sizes along x, y and z; it narrows upward (y)."""
    width, height, length = size
    return _part(BOX, taper, center, [[width / 2, 0, 0], [0, 0, length / 2], [0, height / 2, 0]])


def beam(start: Vector, end: Vector, side: Vector, other: Vector, taper: float = 1.0) -> np.ndarray:
    """A bar, PART [1], from ``start`` to ``end``; ``side`` and ``other`` are its half widths at the start."""
    axis = (np.asarray(end) - start) / 2
    return _part(BOX, taper, np.asarray(start) + axis, [side, other, axis])


def ball(center: Vector, half: Vector, taper: float = 1.0) -> np.ndarray:
    """An ellipsoid, PART [1], of half axes along x, y and z, cut off above ``taper`` x its half height."""
    x, y, z = half
    return _part(BALL, taper, center, [[x, 0, 0], [0, 0, z], [0, y, 0]])


def rod(start: Vector, end: Vector, radius: float, taper: float = 1.0) -> np.ndarray:
    """A cylinder or frustum, PART [1], between the centers of its caps; ``radius`` is that at the start."""
    axis = (np.asarray(end, float) - start) / 2
    aside = np.cross(axis, np.eye(3)[int(np.abs(axis).argmin())])
    aside *= radius / np.linalg.norm(aside)
    other = np.cross(axis, aside)
    other *= radius / np.linalg.norm(other)
    return _part(FRUSTUM, taper, np.asarray(start) + axis, [aside, other, axis])


def _part(kind: int, taper: float, center: object, axes: object) -> np.ndarray:
    part = np.zeros(1, PART)
    part["kind"], part["taper"], part["center"], part["axes"] = kind, taper, center, axes
    return part


@njit(cache=True, error_model="numpy", forceinline=True)
def _clip(enter, leave, face, inside, along, bound, this):
    """The span of a ray, cut to where ``inside + t x along <= bound``."""
    if along > _PARALLEL:
        leave = min(leave, (bound - inside) / along)
    elif along < -_PARALLEL:
        t = (bound - inside) / along
        if t > enter:
            enter, face = t, this
    elif inside > bound:
        leave = -MISS
    return enter, leave, face


@njit(cache=True, error_model="numpy")
def meet(kind, taper, ox, oy, oz, dx, dy, dz, near):
    """Where the ray o + t d, in a part's own coordinates, enters it from outside.

    Returns:
        t, and the face it enters by; MISS where the ray misses, or enters before ``near``.
    """
    enter, leave, face = -MISS, MISS, 0
    top = taper if kind == BALL else 1.0
    enter, leave, face = _clip(enter, leave, face, oz, dz, top, _TOP)
    if kind == BALL:
        widths, k, half = 1.0, 0.0, dx * ox + dy * oy + dz * oz
        a = dx * dx + dy * dy + dz * dz
        c = ox * ox + oy * oy + oz * oz - 1.0
    else:
        enter, leave, face = _clip(enter, leave, face, -oz, -dz, 1.0, _BOTTOM)
        if enter > leave or leave <= near:
            return MISS, face
        k = (taper - 1.0) / 2
        widths = (1.0 + taper) / 2
        if kind == BOX:
            slope, inside = k * dz, k * oz
            enter, leave, face = _clip(enter, leave, face, ox - inside, dx - slope, widths, _RIGHT)
            enter, leave, face = _clip(enter, leave, face, -ox - inside, -dx - slope, widths, _LEFT)
            enter, leave, face = _clip(enter, leave, face, oy - inside, dy - slope, widths, _BACK)
            enter, leave, face = _clip(enter, leave, face, -oy - inside, -dy - slope, widths, _FRONT)
            return (enter, face) if near < enter <= leave else (MISS, face)
        radius = widths + k * oz
        a = dx * dx + dy * dy - k * k * dz * dz
        half = dx * ox + dy * oy - k * dz * radius
        c = ox * ox + oy * oy - radius * radius
    # Inside the curved side: a t^2 + 2 half t + c <= 0.
    if abs(a) < _PARALLEL:
        enter, leave, face = _clip(enter, leave, face, c, 2 * half, 0.0, _SIDE)
        return (enter, face) if near < enter <= leave else (MISS, face)
    root = half * half - a * c
    if root <= 0.0:
        if a > 0.0:
            return MISS, face
        root = 0.0
    root = math.sqrt(root)
    first, second = min((-half - root) / a, (-half + root) / a), max((-half - root) / a, (-half + root) / a)
    if a > 0.0:
        if first > enter:
            enter, face = first, _SIDE
        leave = min(leave, second)
    elif k * dz > 0.0:  # steeper than the cone's side: it is in the wide half after the second root, or
        if second > enter:
            enter, face = second, _SIDE
    else:  # before the first
        leave = min(leave, first)
    return (enter, face) if near < enter <= leave else (MISS, face)


@njit(cache=True, error_model="numpy", forceinline=True)
def outward(kind, taper, face, x, y, z):
    """A normal, of any length, of a face at a point of it; in a part's own coordinates."""
    k = (taper - 1.0) / 2
    if face == _TOP:
        return 0.0, 0.0, 1.0
    if face == _BOTTOM:
        return 0.0, 0.0, -1.0
    if face == _RIGHT:
        return 1.0, 0.0, -k
    if face == _LEFT:
        return -1.0, 0.0, -k
    if face == _BACK:
        return 0.0, 1.0, -k
    if face == _FRONT:
        return 0.0, -1.0, -k
    if kind == BALL:
        return x, y, z
    return x, y, -k * ((1.0 + taper) / 2 + k * z)
