"""Ten solids as signed distance functions, and the sphere tracer that finds them.

A solid lives in its own coordinates, z up, inside the unit sphere about the origin. Two proportions in
[0, 1) shape the individual: a flat or a tall cylinder. A distance function returns how far a point lies
outside the solid (inside: negative) and never overstates it, so that a ray may safely advance by it
(Hart, "Sphere tracing", 1996). Most formulas follow Quilez, "Distance functions".
"""

from __future__ import annotations

import math

from pipelines.files.kernels import njit

SOLIDS = ("capsule", "cone", "cross", "cube", "cylinder", "octahedron", "sphere", "stairs", "star", "torus")
_CAPSULE, _CONE, _CROSS, _CUBE, _CYLINDER, _OCTAHEDRON, _SPHERE, _STAIRS, _STAR, _TORUS = range(10)

_EDGE = 0.03  # radius of rounded edges
_HIT = 0.002  # a ray this near to the surface has met it
_MAX_STEPS = 64


@njit(cache=True)
def _box(x, y, z, half_x, half_y, half_z):
    """A box with rounded edges."""
    dx, dy, dz = abs(x) - half_x + _EDGE, abs(y) - half_y + _EDGE, abs(z) - half_z + _EDGE
    px, py, pz = max(dx, 0.0), max(dy, 0.0), max(dz, 0.0)
    return math.sqrt(px * px + py * py + pz * pz) + min(max(dx, dy, dz), 0.0) - _EDGE


@njit(cache=True)
def _extrude(flat, z, half_height):
    """A plane figure at distance ``flat``, made a prism of rounded edges."""
    flat, tall = flat + _EDGE, abs(z) - half_height + _EDGE
    px, pz = max(flat, 0.0), max(tall, 0.0)
    return math.sqrt(px * px + pz * pz) + min(max(flat, tall), 0.0) - _EDGE


@njit(cache=True)
def _cone(radial, z, radius, half_height):
    """A cone with its tip up; ``radial`` is the distance from its axis."""
    # In the half plane (radial, height below the tip): nearest point on the side, and on the base.
    height = 2 * half_height
    down = half_height - z
    share = min(max((radial * radius + down * height) / (radius * radius + height * height), 0.0), 1.0)
    side_r, side_d = radial - share * radius, down - share * height
    base_r, base_d = radial - min(radial, radius), down - height
    squared = min(side_r * side_r + side_d * side_d, base_r * base_r + base_d * base_d)
    outside = max(radial * height - down * radius, down - height)
    return math.sqrt(squared) if outside > 0 else -math.sqrt(squared)


@njit(cache=True)
def _octahedron(x, y, z, size):
    x, y, z = abs(x), abs(y), abs(z)
    excess = x + y + z - size
    if 3 * x < excess:
        u, v, w = x, y, z
    elif 3 * y < excess:
        u, v, w = y, z, x
    elif 3 * z < excess:
        u, v, w = z, x, y
    else:
        return excess * 0.57735027
    k = min(max(0.5 * (w - v + size), 0.0), size)
    v, w = v - size + k, w - k
    return math.sqrt(u * u + v * v + w * w)


@njit(cache=True)
def _star(x, y, radius, inner):
    """A plane star of five points: tips at ``radius``, notches at ``inner``."""
    # Fold the plane into one half of one tip: a wedge of 36 degrees beside the x axis.
    sector = 2 * math.pi / 5
    angle = math.atan2(y, x)
    angle = abs(angle - sector * math.floor(angle / sector + 0.5))
    r = math.sqrt(x * x + y * y)
    px, py = r * math.cos(angle), r * math.sin(angle)
    # The edge runs from the tip (radius, 0) to the notch.
    ex, ey = inner * math.cos(sector / 2) - radius, inner * math.sin(sector / 2)
    qx, qy = px - radius, py
    share = min(max((qx * ex + qy * ey) / (ex * ex + ey * ey), 0.0), 1.0)
    dx, dy = qx - share * ex, qy - share * ey
    distance = math.sqrt(dx * dx + dy * dy)
    return distance if qx * ey - qy * ex > 0 else -distance


@njit(cache=True)
def _stairs(x, y, z, half, rise):
    """Three steps that climb along x."""
    third = 2 * half / 3
    low = _box(x, y, z + rise, half, half, 0.5 * rise)
    middle = _box(x - third / 2, y, z, half - third / 2, half, 0.5 * rise + _EDGE)
    high = _box(x - third, y, z - rise + _EDGE, half - third, half, 0.5 * rise + _EDGE)
    return min(low, middle, high)


@njit(cache=True)
def distance(solid, p, q, x, y, z):
    """Signed distance of a point from a solid of proportions p and q."""
    if solid == _CAPSULE:
        length, radius = 0.45 + 0.1 * p, 0.3 + 0.1 * q
        x -= min(max(x, -length), length)
        return math.sqrt(x * x + y * y + z * z) - radius
    if solid == _CONE:
        return _cone(math.sqrt(x * x + y * y), z, 0.5 + 0.15 * p, 0.55 + 0.15 * q)
    if solid == _CROSS:
        thick, long = 0.15 + 0.06 * p, 0.78 + 0.1 * q
        along_x, along_y = _box(x, y, z, long, thick, thick), _box(x, y, z, thick, long, thick)
        return min(along_x, along_y, _box(x, y, z, thick, thick, long))
    if solid == _CUBE:
        return _box(x, y, z, 0.5 + 0.05 * p, 0.5 + 0.05 * q, 0.525)
    if solid == _CYLINDER:
        return _extrude(math.sqrt(x * x + y * y) - 0.38 - 0.12 * p, z, 0.5 + 0.2 * q)
    if solid == _OCTAHEDRON:
        return _octahedron(x, y, z * (0.85 + 0.15 * p), 0.8 + 0.05 * q)
    if solid == _SPHERE:
        return math.sqrt(x * x + y * y + z * z) - 0.7 - 0.1 * p
    if solid == _STAIRS:
        return _stairs(x, y, z, 0.52 + 0.06 * p, 0.28 + 0.06 * q)
    if solid == _STAR:
        return _extrude(_star(x, y, 0.9, 0.36 + 0.06 * p), z, 0.2 + 0.12 * q)
    ring = math.sqrt(x * x + y * y) - 0.62
    return math.sqrt(ring * ring + z * z) - 0.17 - 0.1 * p


@njit(cache=True)
def floor_height(solid, p, q):
    """z of the floor that a solid stands on."""
    if solid == _CAPSULE:
        return -0.3 - 0.1 * q
    if solid == _CONE:
        return -0.55 - 0.15 * q
    if solid == _CROSS:
        return -0.78 - 0.1 * q
    if solid == _CUBE:
        return -0.525
    if solid == _CYLINDER:
        return -0.5 - 0.2 * q
    if solid == _OCTAHEDRON:
        return -(0.8 + 0.05 * q) / (0.85 + 0.15 * p)
    if solid == _SPHERE:
        return -0.7 - 0.1 * p
    if solid == _STAIRS:
        return -1.5 * (0.28 + 0.06 * q)
    if solid == _STAR:
        return -0.2 - 0.12 * q
    return -0.17 - 0.1 * p


@njit(cache=True)
def ball_span(x, y, z, dx, dy, dz):
    """Entry and exit distance of a ray of unit direction in the unit sphere; entry > exit if it misses."""
    middle = -(x * dx + y * dy + z * dz)
    inside = middle * middle - (x * x + y * y + z * z - 1.0)
    if inside <= 0.0:
        return 1.0, 0.0
    half = math.sqrt(inside)
    return max(middle - half, 0.0), middle + half


@njit(cache=True)
def trace(solid, p, q, x, y, z, dx, dy, dz):
    """Distance to the solid along a ray of unit direction; -1 where the ray misses it."""
    t, leave = ball_span(x, y, z, dx, dy, dz)
    for _ in range(_MAX_STEPS):
        if t > leave:
            return -1.0
        d = distance(solid, p, q, x + t * dx, y + t * dy, z + t * dz)
        if d < _HIT:
            return t
        t += d
    return -1.0


@njit(cache=True)
def sunlight(solid, p, q, x, y, z, dx, dy, dz, sharpness):
    """Share of a light in direction d that reaches a point past the solid, with a soft edge, in [0, 1]."""
    t, leave = ball_span(x, y, z, dx, dy, dz)
    t = max(t, 0.03)  # leave the surface that the point lies on
    share = 1.0
    for _ in range(_MAX_STEPS):
        if t > leave:
            break
        d = distance(solid, p, q, x + t * dx, y + t * dy, z + t * dz)
        if d < _HIT:
            return 0.0
        share = min(share, sharpness * d / t)
        t += max(d, 0.02)
    return share * share * (3.0 - 2.0 * share)


@njit(cache=True)
def normal(solid, p, q, x, y, z):
    """Unit normal of the surface at a point, from four distances at the corners of a tetrahedron."""
    e = 1e-4
    a = distance(solid, p, q, x + e, y - e, z - e)
    b = distance(solid, p, q, x - e, y - e, z + e)
    c = distance(solid, p, q, x - e, y + e, z - e)
    d = distance(solid, p, q, x + e, y + e, z + e)
    nx, ny, nz = a - b - c + d, -a - b + c + d, -a + b - c + d
    scale = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-30)
    return nx * scale, ny * scale, nz * scale
