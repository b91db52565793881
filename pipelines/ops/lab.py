"""The color space CIE L*a*b*, into which a view is converted where its spec says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pipelines.files.kernels import njit
from pipelines.ops.fixed_point import WHITE, at

# Linear RGB to XYZ, each row divided by the white point's, so that gray has X = Y = Z. From the primaries
# and the D65 white (0.3127, 0.3290) of IEC 61966-2-1 (sRGB).
XYZ_FROM_RGB = (
    (0.433887346, 0.376224009, 0.189888645),
    (0.212639006, 0.715168679, 0.072192315),
    (0.017750040, 0.109447621, 0.872802339),
)

# Tables of IEC 61966-2-1's transfer function and of CIE 15's cube root with its linear part, as in
# ``to_lab``. Read with linear interpolation they are within 1e-5 of the functions.
_KNOTS = 4096
_ARGUMENT = np.linspace(0, 1, _KNOTS + 1)
_LINEAR = np.where(_ARGUMENT <= 0.04045, _ARGUMENT / 12.92, ((_ARGUMENT + 0.055) / 1.055) ** 2.4)
_ROOT = np.where(_ARGUMENT > (6 / 29) ** 3, np.cbrt(_ARGUMENT), _ARGUMENT / (3 * (6 / 29) ** 2) + 4 / 29)
_LINEAR, _ROOT = _LINEAR.astype(np.float32), _ROOT.astype(np.float32)
_XYZ = np.array(XYZ_FROM_RGB, np.float32)


@njit(cache=True, nogil=True)
def lab_words(words, plane_words, pixels, colors):
    """RGB to L / 100, (a + 128) / 255, (b + 128) / 255, in place, as ``to_lab``.

    Args:
        words: uint16 vector; colors lie at plane * plane_words + pixel.
        plane_words: from one plane to the next.
        pixels: of a plane.
        colors: 3, or 1 where only the first plane is right and stands for all.
    """
    if colors == 1:
        for x in range(pixels):
            words[at(plane_words + x)] = words[at(2 * plane_words + x)] = words[at(x)]
    unit, half = np.float32(1 / float(WHITE)), np.float32(0.5)
    # L, a and b as stored, from the three roots: 116 y - 16, 500 (x - y) and 200 (y - z), scaled.
    light, dark = np.float32(1.16 * float(WHITE)), np.float32(0.16 * float(WHITE))
    red_green, yellow_blue = np.float32(500 * 128), np.float32(200 * 128)
    middle = np.float32(128 * 128)
    for x in range(pixels):
        red = _look_up(_LINEAR, np.float32(words[at(x)]) * unit)
        green = _look_up(_LINEAR, np.float32(words[at(plane_words + x)]) * unit)
        blue = _look_up(_LINEAR, np.float32(words[at(2 * plane_words + x)]) * unit)
        root_x = _look_up(_ROOT, _XYZ[0, 0] * red + _XYZ[0, 1] * green + _XYZ[0, 2] * blue)
        root_y = _look_up(_ROOT, _XYZ[1, 0] * red + _XYZ[1, 1] * green + _XYZ[1, 2] * blue)
        root_z = _look_up(_ROOT, _XYZ[2, 0] * red + _XYZ[2, 1] * green + _XYZ[2, 2] * blue)
        words[at(x)] = np.int32(light * root_y - dark + half)
        words[at(plane_words + x)] = np.int32(red_green * (root_x - root_y) + middle + half)
        words[at(2 * plane_words + x)] = np.int32(yellow_blue * (root_y - root_z) + middle + half)


@njit(cache=True, inline="always")
def _look_up(table, argument):
    """A table's function of an argument that is clamped to [0, 1]."""
    clamped: Any = min(max(argument, np.float32(0)), np.float32(1))
    position = clamped * np.float32(_KNOTS)
    knot = min(np.int32(position), np.int32(_KNOTS - 1))
    below = table[at(knot)]
    return below + (position - np.float32(knot)) * (table[at(knot + 1)] - below)


def to_lab(image: torch.Tensor) -> torch.Tensor:
    """SRGB to CIE L*a*b* under D65, scaled to [0, 1]: L / 100, (a + 128) / 255, (b + 128) / 255.

    Transfer function and primaries: IEC 61966-2-1. L*a*b*: CIE 15, with its linear part below (6/29)^3.
    Within sRGB a lies in [-86.2, 98.2] and b in [-107.9, 94.5], so that nothing is cut off.
    """
    linear = torch.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("xc,chw->xhw", torch.tensor(XYZ_FROM_RGB, device=image.device), linear)
    delta = 6 / 29
    x, y, z = torch.where(xyz > delta**3, xyz ** (1 / 3), xyz / (3 * delta**2) + 4 / 29)
    return torch.stack([(116 * y - 16) / 100, (500 * (x - y) + 128) / 255, (200 * (y - z) + 128) / 255])
