"""Cast the rays of labeled images: which part each meets, how far away, and the light from there.

The camera, the lamp (a ball of radius 1, 100 W), the sun (from above, 1 W per square meter) and the plane
behind everything are those of the authors' renderer (see ``arrangement``). Labels come from one ray through
the center of each pixel. The color is that ray's too, or the mean of 2 x 2 rays where a neighbor of the pixel
shows another face. Light is linear RGB, stored as its square root (gamma 2).

The kernels read a part from a row of ``solids``, float64 [n, 15]: kind, taper, center, the inverse of its
axes row by row, and the radius of a ball around it. Views of arrays would cost more than a ray does.
"""

from __future__ import annotations

import math

import numpy as np

from pipelines.files.kernels import njit
from pipelines.sources.scenes.parts import MISS, meet, outward

_TILT = 0.36 * math.pi  # of the camera from straight down
CAMERA = (1.0, 0.0, 0.4)
FORWARD = (-math.sin(_TILT), 0.0, -math.cos(_TILT))
UP = (-math.cos(_TILT), 0.0, math.sin(_TILT))  # its right is (0, 1, 0)
HALF_SIDE = 18.0 / 50.0  # of the image at distance 1: half a sensor of 36 mm behind a lens of 50 mm
NEAR = 0.1  # nothing nearer is seen
BACKGROUND_DEPTH = 4 * -FORWARD[0] + 1.6 * -FORWARD[2]  # of the plane through -3 x CAMERA, seen head on
NOTHING = -1
FACES = 8  # at least as many as a part has

_CX, _CY, _CZ = CAMERA
_FX, _FY, _FZ = FORWARD
_UX, _UY, _UZ = UP
_RADIUS = 14  # column of ``solids``
_LAMP_POWER = 100.0 / (4 * math.pi * math.pi)  # reflected per area at distance 1
_SUN, _AMBIENT = 1.0 / math.pi, 0.08
_LAMP_POINTS = ((0.5, 0.5, 0.5), (-0.5, -0.5, 0.5), (-0.5, 0.5, -0.5), (0.5, -0.5, -0.5))
_LIFT = 1e-4  # off the surface that a shadow ray starts from
_CORNERS = np.array([(a, b, 1.0) for a in (-1.0, 1.0) for b in (-1.0, 1.0)])  # and their opposites
_BACKGROUND_PERIODS = 0.5  # of the texture across the image


def solids_of(parts: np.ndarray) -> np.ndarray:
    """The rows of ``solids`` of parts (PART [n], in the world's coordinates), float64 [n, 15]."""
    axes = parts["axes"]
    corners = _CORNERS @ axes
    solids = np.empty((len(parts), 15))
    solids[:, 0], solids[:, 1], solids[:, 2:5] = parts["kind"], parts["taper"], parts["center"]
    solids[:, 5:14] = np.linalg.inv(axes).reshape(-1, 9)
    solids[:, _RADIUS] = np.sqrt((corners * corners).sum(2).max(1))
    return solids


@njit(cache=True, error_model="numpy", forceinline=True)
def _turn(s, p, x, y, z):
    """A vector of the world in the coordinates of part p."""
    return (
        x * s[p, 5] + y * s[p, 8] + z * s[p, 11],
        x * s[p, 6] + y * s[p, 9] + z * s[p, 12],
        x * s[p, 7] + y * s[p, 10] + z * s[p, 13],
    )


@njit(cache=True, error_model="numpy", forceinline=True)
def _meet_part(s, p, ox, oy, oz, dx, dy, dz, near):
    """``meet`` of part p and a ray that starts at o - its center; both in the world's coordinates."""
    u, v, w = _turn(s, p, ox, oy, oz)
    a, b, c = _turn(s, p, dx, dy, dz)
    return meet(int(s[p, 0]), s[p, 1], u, v, w, a, b, c, near)


@njit(cache=True, error_model="numpy", forceinline=True)
def _meet_from_camera(s, e, p, dx, dy, dz):
    """``meet`` of part p and a ray from the camera, which stands at e[p] in the part's coordinates."""
    a, b, c = _turn(s, p, dx, dy, dz)
    return meet(int(s[p, 0]), s[p, 1], e[p, 0], e[p, 1], e[p, 2], a, b, c, NEAR)


@njit(cache=True, error_model="numpy", forceinline=True)
def _ray(row, column, size):
    """Direction through a place of the image, in pixels from its corner; its part along FORWARD is 1."""
    right, up = HALF_SIDE * (2 * column / size - 1), HALF_SIDE * (1 - 2 * row / size)
    return _FX + up * _UX, right + _FY + up * _UY, _FZ + up * _UZ


@njit(cache=True, error_model="numpy")
def _frame(center, axes, size):
    """First and end row, first and end column of the pixels that a part may touch."""
    left, right, top, bottom = MISS, -MISS, MISS, -MISS
    for corner in range(8):
        a, b, c = 2.0 * (corner & 1) - 1, (corner & 2) - 1.0, (corner & 4) / 2 - 1.0
        x = center[0] - _CX + a * axes[0, 0] + b * axes[1, 0] + c * axes[2, 0]
        y = center[1] - _CY + a * axes[0, 1] + b * axes[1, 1] + c * axes[2, 1]
        z = center[2] - _CZ + a * axes[0, 2] + b * axes[1, 2] + c * axes[2, 2]
        away = x * _FX + y * _FY + z * _FZ
        if away < NEAR:
            return 0, size, 0, size  # it may be anywhere
        column = (y / away / HALF_SIDE + 1) / 2 * size
        row = (1 - (x * _UX + y * _UY + z * _UZ) / away / HALF_SIDE) / 2 * size
        left, right = min(left, column), max(right, column)
        top, bottom = min(top, row), max(bottom, row)
    return (
        int(max(math.floor(top), 0.0)),
        int(min(math.ceil(bottom), size)),
        int(max(math.floor(left), 0.0)),
        int(min(math.ceil(right), size)),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def cast(axes, solids, eyes, frames, depths, faces):
    """Cast one ray through the center of each pixel.

    Args:
        axes: float64 [n, 3, 3], of the parts.
        solids: float64 [n, 15], the parts.
        eyes: float64 [n, 3], is filled: the camera in the coordinates of each part.
        frames: int64 [n, 4], is filled: first and end row, first and end column of the pixels of each part.
        depths: float64 [S, S], is filled: distance along the camera's axis.
        faces: int32 [S, S], is filled: part x FACES + face, or NOTHING.
    """
    size = len(depths)
    depths[:], faces[:] = BACKGROUND_DEPTH, NOTHING
    for p in range(len(solids)):
        top, bottom, left, right = _frame(solids[p, 2:5], axes[p], size)
        frames[p, 0], frames[p, 1], frames[p, 2], frames[p, 3] = top, bottom, left, right
        ox, oy, oz = _CX - solids[p, 2], _CY - solids[p, 3], _CZ - solids[p, 4]
        eyes[p, 0], eyes[p, 1], eyes[p, 2] = _turn(solids, p, ox, oy, oz)
        for i in range(top, bottom):
            for j in range(left, right):
                dx, dy, dz = _ray(i + 0.5, j + 0.5, size)
                t, face = _meet_from_camera(solids, eyes, p, dx, dy, dz)
                if t < depths[i, j]:
                    depths[i, j], faces[i, j] = t, p * FACES + face


@njit(cache=True, error_model="numpy")
def _nearest(solids, eyes, frames, i, j, direction):
    """Depth and face of what a ray within pixel (i, j) meets, as ``cast`` stores them."""
    dx, dy, dz = direction
    depth, found = BACKGROUND_DEPTH, NOTHING
    for p in range(len(solids)):
        if frames[p, 0] <= i < frames[p, 1] and frames[p, 2] <= j < frames[p, 3]:
            t, face = _meet_from_camera(solids, eyes, p, dx, dy, dz)
            if t < depth:
                depth, found = t, p * FACES + face
    return depth, found


@njit(cache=True, error_model="numpy")
def _lamp_seen(solids, own, x, y, z, nx, ny, nz, lx, ly, lz, rays):
    """Share of the lamp's points that no part hides from a point just off part ``own``.

    n is the normal there, l leads from there to the lamp's center; ``rays`` [4, 4] is written over.
    """
    lit = len(_LAMP_POINTS)  # the first rows of ``rays``: direction and its squared length
    for k in range(lit):
        dx, dy, dz = lx + _LAMP_POINTS[k][0], ly + _LAMP_POINTS[k][1], lz + _LAMP_POINTS[k][2]
        rays[k, 0], rays[k, 1], rays[k, 2], rays[k, 3] = dx, dy, dz, dx * dx + dy * dy + dz * dz
    for p in range(len(solids)):
        ox, oy, oz = x - solids[p, 2], y - solids[p, 3], z - solids[p, 4]
        away = ox * ox + oy * oy + oz * oz - solids[p, _RADIUS] * solids[p, _RADIUS]
        k = 0
        while k < lit:
            dx, dy, dz, squared = rays[k, 0], rays[k, 1], rays[k, 2], rays[k, 3]
            along = -(ox * dx + oy * dy + oz * dz)
            if away > 0 and (along < 0 or away * squared > along * along):
                k += 1  # it passes by the ball around the part
            elif p == own and nx * dx + ny * dy + nz * dz > 0.0:
                k += 1  # the part is convex: it lies behind the plane that touches it
            elif _meet_part(solids, p, ox, oy, oz, dx, dy, dz, 1e-3)[0] < 1.0:
                lit -= 1
                for column in range(4):
                    rays[k, column] = rays[lit, column]
            else:
                k += 1
    return lit / len(_LAMP_POINTS)


@njit(cache=True, error_model="numpy", forceinline=True)
def _around(nz):
    """Light from everywhere and from the sun above that a white surface of a normal reflects."""
    return _AMBIENT * (1 + 0.3 * nz) + _SUN * max(nz, 0.0)


@njit(cache=True, error_model="numpy", forceinline=True)
def _lookup(textures, which, u, v):
    """The linear RGB of a texture, which repeats, between its four nearest pixels."""
    side = textures.shape[1]
    u, v = (u - math.floor(u)) * side - 0.5, (v - math.floor(v)) * side - 0.5
    left, top = int(u + 1) - 1, int(v + 1) - 1  # floors: both are above -1
    a, b = u - left, v - top
    # unsigned, so that numba does not look for negative ones
    right, below = np.uint64(left + 1 if left + 1 < side else 0), np.uint64(top + 1 if top + 1 < side else 0)
    column, row = np.uint64(left if left >= 0 else side - 1), np.uint64(top if top >= 0 else side - 1)
    which = np.uint64(which)
    w0, w1, w2, w3 = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
    red = w0 * textures[which, row, column, 0] + w1 * textures[which, row, right, 0]
    red += w2 * textures[which, below, column, 0] + w3 * textures[which, below, right, 0]
    green = w0 * textures[which, row, column, 1] + w1 * textures[which, row, right, 1]
    green += w2 * textures[which, below, column, 1] + w3 * textures[which, below, right, 1]
    blue = w0 * textures[which, row, column, 2] + w1 * textures[which, row, right, 2]
    blue += w2 * textures[which, below, column, 2] + w3 * textures[which, below, right, 2]
    return red * red / 65025.0, green * green / 65025.0, blue * blue / 65025.0


@njit(cache=True, error_model="numpy", forceinline=True)
def _skin(r, o, x, y, z, nx, ny, nz):
    """Place in the texture of a point of shape o: seen along the axis of the shape nearest to the normal.

    ``r`` are the rows that ``paint`` calls ``unturn``.
    """
    x, y, z = x - r[o, 3, 0], y - r[o, 3, 1], z - r[o, 3, 2]
    a = x * r[o, 0, 0] + y * r[o, 0, 1] + z * r[o, 0, 2]
    b = x * r[o, 1, 0] + y * r[o, 1, 1] + z * r[o, 1, 2]
    c = x * r[o, 2, 0] + y * r[o, 2, 1] + z * r[o, 2, 2]
    u = abs(nx * r[o, 0, 0] + ny * r[o, 0, 1] + nz * r[o, 0, 2])
    v = abs(nx * r[o, 1, 0] + ny * r[o, 1, 1] + nz * r[o, 1, 2])
    w = abs(nx * r[o, 2, 0] + ny * r[o, 2, 1] + nz * r[o, 2, 2])
    if u >= v and u >= w:
        return c, -b
    return (a, c) if v >= w else (a, -b)


@njit(cache=True, error_model="numpy", forceinline=True)
def _gloss(lx, ly, lz, nx, ny, nz, dx, dy, dz):
    """Blinn's highlight, in [0, 1], of a point seen along d, with the lamp in direction l."""
    to_lamp = 1 / math.sqrt(lx * lx + ly * ly + lz * lz)
    to_eye = 1 / math.sqrt(dx * dx + dy * dy + dz * dz)
    hx, hy, hz = lx * to_lamp - dx * to_eye, ly * to_lamp - dy * to_eye, lz * to_lamp - dz * to_eye
    half = max(nx * hx + ny * hy + nz * hz, 0.0) / math.sqrt(hx * hx + hy * hy + hz * hz)
    return half**16


@njit(cache=True, error_model="numpy", forceinline=True)
def _shade_part(solids, found, owner, depth, direction, lamp, materials, unturn, textures, rays, total):
    """Add the light that comes from a part's face to ``total`` [3]; ``rays`` is that of ``_lamp_seen``."""
    p = found // FACES
    dx, dy, dz = direction
    x, y, z = _CX + depth * dx, _CY + depth * dy, _CZ + depth * dz
    u, v, w = _turn(solids, p, x - solids[p, 2], y - solids[p, 3], z - solids[p, 4])
    u, v, w = outward(int(solids[p, 0]), solids[p, 1], found % FACES, u, v, w)
    nx = u * solids[p, 5] + v * solids[p, 6] + w * solids[p, 7]
    ny = u * solids[p, 8] + v * solids[p, 9] + w * solids[p, 10]
    nz = u * solids[p, 11] + v * solids[p, 12] + w * solids[p, 13]
    norm = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz)
    nx, ny, nz = nx * norm, ny * norm, nz * norm
    lx, ly, lz = lamp[0] - x, lamp[1] - y, lamp[2] - z
    away = lx * lx + ly * ly + lz * lz
    facing, light, gloss = (nx * lx + ny * ly + nz * lz) / math.sqrt(away), _around(nz), 0.0
    if facing > 0.0:
        sx, sy, sz = x + _LIFT * nx, y + _LIFT * ny, z + _LIFT * nz
        facing *= _lamp_seen(solids, p, sx, sy, sz, nx, ny, nz, lx, ly, lz, rays)
        light += _LAMP_POWER * facing / away
        gloss = 0.1 * facing * _gloss(lx, ly, lz, nx, ny, nz, dx, dy, dz)
    red, green, blue = materials[owner, 0], materials[owner, 1], materials[owner, 2]
    share = materials[owner, 3]
    if share > 0.0:
        u, v = _skin(unturn, owner, x, y, z, nx, ny, nz)
        a, b, c = _lookup(textures, owner, u, v)
        red, green, blue = red + share * (a - red), green + share * (b - green), blue + share * (c - blue)
    total[0] += red * light + gloss
    total[1] += green * light + gloss
    total[2] += blue * light + gloss


@njit(cache=True, error_model="numpy", forceinline=True)
def _shade_background(lamp, background, textures, row, column, size, direction, total):
    """Add the light that comes from the plane behind everything, where no shadow falls, to ``total`` [3]."""
    dx, dy, dz = direction
    lx = lamp[0] - _CX - BACKGROUND_DEPTH * dx
    ly = lamp[1] - _CY - BACKGROUND_DEPTH * dy
    lz = lamp[2] - _CZ - BACKGROUND_DEPTH * dz
    away = lx * lx + ly * ly + lz * lz
    facing = max(-(_FX * lx + _FY * ly + _FZ * lz), 0.0) / math.sqrt(away)
    light = _around(-_FZ) + _LAMP_POWER * facing / away
    red, green, blue = background[0], background[1], background[2]
    if len(textures):
        u = background[3] + _BACKGROUND_PERIODS * column / size
        v = background[4] + _BACKGROUND_PERIODS * row / size
        red, green, blue = _lookup(textures, len(textures) - 1, u, v)
    total[0] += red * light
    total[1] += green * light
    total[2] += blue * light


@njit(cache=True, error_model="numpy", forceinline=True)
def _is_edge(faces, i, j):
    """True if the pixel above, below or beside shows another face."""
    end, face = len(faces) - 1, faces[i, j]
    if (i > 0 and faces[i - 1, j] != face) or (i < end and faces[i + 1, j] != face):
        return True
    return (j > 0 and faces[i, j - 1] != face) or (j < end and faces[i, j + 1] != face)


@njit(cache=True, nogil=True, error_model="numpy")
def paint(solids, eyes, frames, depths, faces, owners, lamp, materials, unturn, background, textures, image):
    """Color the pixels of an image that was cast.

    Args:
        solids, eyes, frames, depths, faces: as ``cast`` took and filled them.
        owners: int64 [n], the object of each part.
        lamp: float64 [3].
        materials: float64 [objects, 4]: linear RGB, and the share of the texture.
        unturn: float64 [objects, 4, 3]: from the world to the coordinates of each shape; its location.
        background: float64 [5]: linear RGB, and the shift of its texture in periods.
        textures: uint8 [objects + 1, T, T, 3]; the last is the background's; [0, T, T, 3]: plain colors.
        image: uint8 [S, S, 3], is filled.
    """
    size, total, rays = len(image), np.empty(3), np.empty((4, 4))
    for i in range(size):
        for j in range(size):
            side, share = (2, 0.25) if _is_edge(faces, i, j) else (1, 1.0)
            total[:] = 0.0
            for ray in range(side * side):
                row, column = i + (ray // side + 0.5) / side, j + (ray % side + 0.5) / side
                direction, depth, found = _ray(row, column, size), depths[i, j], faces[i, j]
                if side > 1:
                    depth, found = _nearest(solids, eyes, frames, i, j, direction)
                if found == NOTHING:
                    _shade_background(lamp, background, textures, row, column, size, direction, total)
                    continue
                # not as *(...): a tuple of arrays counts references, which costs as much as the shading
                owner = owners[found // FACES]
                _shade_part(
                    solids, found, owner, depth, direction, lamp, materials, unturn, textures, rays, total
                )
            for c in range(3):
                light = min(total[c] * share, 1.0)
                image[i, j, c] = np.uint8(255.0 * math.sqrt(light) + 0.5)
