"""Render a scene: one solid on a floor that fades into a wall, under one light, with a soft shadow.

Light is computed in linear RGB and stored as its square root (gamma 2). Every pixel is the mean of 2 x 2
rays.
"""

from __future__ import annotations

import math

import numpy as np

from pipelines.files.kernels import njit
from pipelines.keys import absorb, to_uniform
from pipelines.sources.scenes.solids import distance, floor_height, normal, sunlight, trace

_CAMERA_DISTANCE = 4.5  # from the solid's center, in radii of its unit sphere
_SUBPIXELS = 2  # a side
_PLAIN, _STRIPES, _CHECKS, _DOTS, _NOISE, _GRADIENT = range(6)  # positions in TEXTURES


@njit(cache=True)
def _step(edge, width, value):
    """Smooth step from 0 to 1 as value passes edge, over 2 x width."""
    t = min(max((value - edge) / (2 * width) + 0.5, 0.0), 1.0)
    return t * t * (3 - 2 * t)


@njit(cache=True)
def _lattice(x, y, z):
    return to_uniform(absorb(absorb(absorb(np.uint64(0), x), y), z))


@njit(cache=True)
def _value_noise(x, y, z):
    """Random numbers in [0, 1) on the integer lattice, smoothly joined."""
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    total = 0.0
    for corner in range(8):
        a, b, c = corner & 1, (corner >> 1) & 1, corner >> 2
        weight = (u if a else 1 - u) * (v if b else 1 - v) * (w if c else 1 - w)
        total += weight * _lattice(int(i) + a, int(j) + b, int(k) + c)
    return total


@njit(cache=True)
def _pattern(scene, x, y, z):
    """Share of the secondary color at a point of the solid, in [0, 1]."""
    texture = scene.texture
    if texture == _PLAIN:
        return 0.0
    axes, scale, phase = scene.texture_axes, scene.texture_scale, scene.texture_phase
    u = scale * (axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z) + phase[0]
    if texture == _GRADIENT:
        return _step(0.0, 1.0, u - phase[0])
    if texture == _STRIPES:
        return _step(0.0, 0.15, math.sin(2 * math.pi * u))
    v = scale * (axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z) + phase[1]
    w = scale * (axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z) + phase[2]
    if texture == _CHECKS:
        turn = 2 * math.pi
        return _step(0.0, 0.08, math.sin(turn * u / 2) * math.sin(turn * v / 2) * math.sin(turn * w / 2))
    if texture == _DOTS:
        u, v, w = u - math.floor(u) - 0.5, v - math.floor(v) - 0.5, w - math.floor(w) - 0.5
        return _step(-0.36, 0.03, -math.sqrt(u * u + v * v + w * w))
    rough = 0.65 * _value_noise(2 * u, 2 * v, 2 * w) + 0.35 * _value_noise(4 * u + 9, 4 * v + 9, 4 * w + 9)
    return _step(0.5, 0.15, rough)


@njit(cache=True)
def _shade_solid(scene, x, y, z, dx, dy, dz, lx, ly, lz, out):
    """Add the light that leaves a point of the solid against the ray d to ``out`` [3]."""
    solid, p, q = scene.solid, scene.proportions[0], scene.proportions[1]
    nx, ny, nz = normal(solid, p, q, x, y, z)
    facing = nx * lx + ny * ly + nz * lz
    lit = max(facing, 0.0)
    if lit > 0.0:
        lit *= sunlight(solid, p, q, x + 0.01 * nx, y + 0.01 * ny, z + 0.01 * nz, lx, ly, lz, 10.0)
    # Corners receive less light from everywhere: the solid, or the floor, is near along the normal.
    near = distance(solid, p, q, x + 0.2 * nx, y + 0.2 * ny, z + 0.2 * nz)
    near = min(near, z + 0.2 * nz - floor_height(solid, p, q))
    open_share = (0.45 + 0.55 * min(max(near / 0.2, 0.0), 1.0)) * (0.75 + 0.25 * nz)
    # Blinn's highlight: the half vector between light and eye.
    hx, hy, hz = lx - dx, ly - dy, lz - dz
    gloss = max(nx * hx + ny * hy + nz * hz, 0.0) / math.sqrt(hx * hx + hy * hy + hz * hz)
    gloss = 0.3 * lit * gloss**40
    share = _pattern(scene, x, y, z)
    for c in range(3):
        color = scene.primary[c] * (1 - share) + scene.secondary[c] * share
        out[c] += color * (scene.light[c] * lit + scene.ambient[c] * open_share) + gloss * scene.light[c]


@njit(cache=True)
def _shade_background(scene, x, y, z, dx, dy, dz, lx, ly, lz, out):
    """Add the light of the floor, or of the wall above its horizon, to ``out`` [3]."""
    solid, p, q = scene.solid, scene.proportions[0], scene.proportions[1]
    fade, shadow, open_share = 1.0, 1.0, 1.0
    floor = floor_height(solid, p, q)
    if dz < 0.0:
        t = (floor - z) / dz
        fx, fy = x + t * dx, y + t * dy
        away = fx * fx + fy * fy
        fade = away / (away + 9.0)
        shadow = sunlight(solid, p, q, fx, fy, floor, lx, ly, lz, 6.0)
        if away < 4.0:
            open_share = 0.5 + 0.5 * min(distance(solid, p, q, fx, fy, floor + 0.05) / 0.35, 1.0)
    for c in range(3):
        color = scene.floor[c] * (1 - fade) + scene.wall[c] * fade
        light = scene.light[c] * lz * (fade + (1 - fade) * shadow)
        out[c] += color * (light + scene.ambient[c] * open_share)


@njit(cache=True)
def _directions(azimuth, elevation):
    ce = math.cos(elevation)
    return ce * math.cos(azimuth), ce * math.sin(azimuth), math.sin(elevation)


@njit(cache=True, nogil=True)
def _render(scene, image):
    size = image.shape[0]
    # The camera looks from c, a unit vector, at the center; r and u are its right and up, rolled.
    cx, cy, cz = _directions(scene.azimuth, scene.elevation)
    sin_a, cos_a = math.sin(scene.azimuth), math.cos(scene.azimuth)
    sin_e, cos_e = math.sin(scene.elevation), math.cos(scene.elevation)
    sin_r, cos_r = math.sin(scene.roll), math.cos(scene.roll)
    rx, ry, rz = -cos_r * sin_a - sin_r * sin_e * cos_a, cos_r * cos_a - sin_r * sin_e * sin_a, sin_r * cos_e
    ux, uy, uz = sin_r * sin_a - cos_r * sin_e * cos_a, -sin_r * cos_a - cos_r * sin_e * sin_a, cos_r * cos_e
    lx, ly, lz = _directions(scene.azimuth + scene.light_azimuth, scene.light_elevation)
    half_side = 1.0 / math.sqrt(_CAMERA_DISTANCE**2 - 1.0) / scene.zoom  # of the image at distance 1
    solid, p, q = scene.solid, scene.proportions[0], scene.proportions[1]
    x, y, z = _CAMERA_DISTANCE * cx, _CAMERA_DISTANCE * cy, _CAMERA_DISTANCE * cz
    total = np.empty(3)
    for row in range(size):
        for column in range(size):
            total[:] = 0.0
            for ray in range(_SUBPIXELS * _SUBPIXELS):
                right = (column + (ray % _SUBPIXELS + 0.5) / _SUBPIXELS) / size - 0.5 - scene.offset[0]
                up = 0.5 - (row + (ray // _SUBPIXELS + 0.5) / _SUBPIXELS) / size - scene.offset[1]
                right, up = 2 * half_side * right, 2 * half_side * up
                dx, dy, dz = right * rx + up * ux - cx, right * ry + up * uy - cy, right * rz + up * uz - cz
                norm = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz)
                dx, dy, dz = dx * norm, dy * norm, dz * norm
                t = trace(solid, p, q, x, y, z, dx, dy, dz)
                if t >= 0.0:
                    _shade_solid(scene, x + t * dx, y + t * dy, z + t * dz, dx, dy, dz, lx, ly, lz, total)
                else:
                    _shade_background(scene, x, y, z, dx, dy, dz, lx, ly, lz, total)
            for c in range(3):
                light = total[c] / (_SUBPIXELS * _SUBPIXELS)
                image[row, column, c] = np.uint8(255.0 * math.sqrt(min(light, 1.0)) + 0.5)


def render(scene: np.void, size: int) -> np.ndarray:
    """Render one scene of a SCENE table. Releases the GIL.

    Returns:
        uint8 [size, size, 3].
    """
    image = np.empty((size, size, 3), np.uint8)
    _render(scene, image)
    return image
