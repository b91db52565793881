"""The last steps of a view: normalization, Cutout, and the output's number format."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from pipelines.files.kernels import njit
from pipelines.ops import Cutout
from pipelines.ops.fixed_point import WHITE, at, bfloat_bits, half_bits
from pipelines.views import ViewSpec

_cut = Cutout.numba

ViewDtype = Literal["uint8", "float32", "float16", "bfloat16"]
NUMBER_BYTES = (1, 4, 2, 2)
_UINT8, _FLOAT32, _FLOAT16, _BFLOAT16 = range(4)

# One record: what of a ViewSpec the last steps need.
FINISH = np.dtype(
    [
        ("size", "i4"),  # side of the view, pixels
        ("format", "i4"),  # index in ViewDtype
        ("lab", "i4"),  # 1: CIE L*a*b*
        ("scale", "f4", (3,)),  # of each channel: normalized = value * scale + shift, value in [0, WHITE]
        ("shift", "f4", (3,)),
        ("hole", "u1", (3,)),  # the level of each channel that is nearest to 0 once normalized
        ("crop_only", "u1"),  # 1: nothing is done after crop, resize and flip
    ]
)


def render_constants(spec: ViewSpec, dtype: ViewDtype) -> np.ndarray:
    """Pack the part of a spec that ``cpu.render_views`` needs: FINISH [1].

    Args:
        spec: of the views; gives size, color space and normalization.
        dtype: "uint8": levels that are not normalized, rounded, in the spec's color space, with
            Cutout's hole at the rounded mean, which is what a later normalization takes closest to 0.
            "float32", "float16", "bfloat16": normalized, the hole at 0.
    """
    constants = np.zeros(1, FINISH)
    constants["size"] = spec.size
    constants["format"] = get_args(ViewDtype).index(dtype)
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
def write(words, planes, constants, row, out):
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
            _cut(out, size, hole, row)
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
        _cut(floats, size, zero, row)
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
    _cut(bits, size, zero, row)


@njit(cache=True, inline="always")
def _normalize(value, scale, shift):
    return np.float32(min(value, WHITE)) * scale + shift
