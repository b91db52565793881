"""The last steps of a view: solarize, colour space, normalisation, Cutout, and the output's number format."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numba import njit

from pipelines.render.fixed_point import WHITE, at, bfloat_bits, half_bits
from pipelines.render.reference import XYZ_FROM_RGB
from pipelines.views import ViewSpec

NumberFormat = Literal["uint8", "float32", "float16", "bfloat16"]
NUMBER_BYTES = (1, 4, 2, 2)
_UINT8, _FLOAT32, _FLOAT16, _BFLOAT16 = range(4)

# One record: what of a ViewSpec the last steps need.
FINISH = np.dtype(
    [
        ("size", "i4"),  # side of the view, pixels
        ("format", "i4"),  # place in NumberFormat
        ("lab", "i4"),  # 1: CIE L*a*b*
        ("scale", "f4", (3,)),  # of each channel: normalised = value * scale + shift, value in [0, WHITE]
        ("shift", "f4", (3,)),
        ("hole", "u1", (3,)),  # the level of each channel that is nearest to 0 once normalised
        ("crop_only", "u1"),  # 1: nothing is done after crop, resize and flip
    ]
)

# Tables of IEC 61966-2-1's transfer function and of CIE 15's cube root with its linear part, as in
# ``reference.to_lab``. Read with linear interpolation they are within 1e-5 of the functions.
_KNOTS = 4096
_ARGUMENT = np.linspace(0, 1, _KNOTS + 1)
_LINEAR = np.where(_ARGUMENT <= 0.04045, _ARGUMENT / 12.92, ((_ARGUMENT + 0.055) / 1.055) ** 2.4)
_ROOT = np.where(_ARGUMENT > (6 / 29) ** 3, np.cbrt(_ARGUMENT), _ARGUMENT / (3 * (6 / 29) ** 2) + 4 / 29)
_LINEAR, _ROOT = _LINEAR.astype(np.float32), _ROOT.astype(np.float32)
_XYZ = np.array(XYZ_FROM_RGB, np.float32)


def render_constants(spec: ViewSpec, number_format: NumberFormat) -> np.ndarray:
    """What ``cpu.render_views`` needs of a spec, packed once: FINISH [1].

    Args:
        spec: of the views; gives size, colour space and normalisation.
        number_format: "uint8": levels that are not normalised, rounded, in the spec's colour space, with
            Cutout's hole at the rounded mean, which is what a later normalisation takes closest to 0.
            "float32", "float16", "bfloat16": normalised, the hole at 0.
    """
    constants = np.zeros(1, FINISH)
    constants["size"] = spec.size
    constants["format"] = get_args(NumberFormat).index(number_format)
    constants["lab"] = spec.color_space == "lab"
    constants["scale"] = 1 / (float(WHITE) * np.array(spec.std))
    constants["shift"] = -np.array(spec.mean) / np.array(spec.std)
    constants["hole"] = np.clip(np.round(255 * np.array(spec.mean)), 0, 255)
    return constants


def crop_constants(size: int) -> np.ndarray:
    """The constants of views that are only cut, resized and mirrored, as uint8 RGB levels: FINISH [1]."""
    constants = render_constants(ViewSpec(size=size), "uint8")
    constants["crop_only"] = 1
    return constants


@njit(cache=True, nogil=True)
def solarize(words, plane, pixels, threshold):  # type: ignore[no-untyped-def]
    """Invert the values of at least ``threshold`` (of 1) in the plane at word ``plane``."""
    least = np.uint16(np.ceil(threshold * WHITE - 0.5))
    for x in range(pixels):
        value = min(words[at(plane + x)], WHITE)
        words[at(plane + x)] = np.uint16(WHITE - value) if value >= least else value


@njit(cache=True, nogil=True)
def to_lab(words, plane_words, pixels, grey):  # type: ignore[no-untyped-def]
    """RGB to L / 100, (a + 128) / 255, (b + 128) / 255, in place, as ``reference.to_lab``.

    Args:
        words: uint16 vector; colours lie at plane * plane_words + pixel.
        plane_words: from one plane to the next.
        pixels: of a plane.
        grey: only the first plane is right, and stands for all.
    """
    if grey:
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
def _look_up(table, argument):  # type: ignore[no-untyped-def]
    """A table's function of an argument that is clamped to [0, 1]."""
    clamped: Any = min(max(argument, np.float32(0)), np.float32(1))
    place = clamped * np.float32(_KNOTS)
    knot = min(np.int32(place), np.int32(_KNOTS - 1))
    below = table[at(knot)]
    return below + (place - np.float32(knot)) * (table[at(knot + 1)] - below)


@njit(cache=True, nogil=True)
def write(words, planes, constants, row, out):  # type: ignore[no-untyped-def]
    """Three planes as the pixels of a finished view, its hole cut.

    Args:
        words: uint16 vector.
        planes: the first word of each channel's plane, three integers.
        constants: a FINISH record.
        row: of VIEW_PARAMETERS; gives the hole.
        out: uint8 [S * S * 3 * bytes of a number], the view's memory.
    """
    size = np.int64(constants.size)
    pixels = size * size
    if constants.format == _UINT8:
        for x in range(pixels):
            for channel in range(3):
                level = np.uint16(words[at(planes[channel] + x)] + np.uint16(64)) >> np.uint16(7)
                out[at(3 * x + channel)] = level
        if not constants.crop_only:
            hole = (constants.hole[0], constants.hole[1], constants.hole[2])
            _cut(row, size, out, hole)
        return
    zero = (np.uint8(0), np.uint8(0), np.uint8(0))
    scale = (constants.scale[0], constants.scale[1], constants.scale[2])
    shift = (constants.shift[0], constants.shift[1], constants.shift[2])
    if constants.format == _FLOAT32:
        floats = out.view(np.float32)
        for x in range(pixels):
            for channel in range(3):
                value = words[at(planes[channel] + x)]
                floats[at(3 * x + channel)] = _normalize(value, scale[channel], shift[channel])
        _cut(row, size, floats, zero)
        return
    bits = out.view(np.uint16)
    if constants.format == _FLOAT16:
        for x in range(pixels):
            for channel in range(3):
                value = _normalize(words[at(planes[channel] + x)], scale[channel], shift[channel])
                bits[at(3 * x + channel)] = half_bits(value)
    else:
        for x in range(pixels):
            for channel in range(3):
                value = _normalize(words[at(planes[channel] + x)], scale[channel], shift[channel])
                bits[at(3 * x + channel)] = bfloat_bits(value)
    _cut(row, size, bits, zero)


@njit(cache=True, inline="always")
def _normalize(value, scale, shift):  # type: ignore[no-untyped-def]
    return np.float32(min(value, WHITE)) * scale + shift


@njit(cache=True)
def _cut(row, size, numbers, hole):  # type: ignore[no-untyped-def]
    """Cutout: fill the row's square hole, clipped at the border."""
    for y in range(max(row.cutout_top, 0), min(row.cutout_top + row.cutout_size, size)):
        for x in range(max(row.cutout_left, 0), min(row.cutout_left + row.cutout_size, size)):
            for channel in range(3):
                numbers[at(3 * (y * size + x) + channel)] = hole[channel]
