"""The last steps of a view: normalization, operations on the finished view, the output's number format."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from pipelines.files.kernels import njit
from pipelines.ops import CHANNEL_OPS, PLACE_OPS, ChannelJitter
from pipelines.ops.fixed_point import WHITE, at, bfloat_bits, half_bits
from pipelines.ops.unrolled import chained, unrolled
from pipelines.views import ViewSpec

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


def _at_work() -> str:
    """The expression that is true where a field of one of CHANNEL_OPS is not neutral in ``row``."""
    changes = ["False"]
    for field in (field for op in CHANNEL_OPS for field in op.fields):
        if isinstance(field.neutral, tuple):
            changes += [f"row.{field.name}[{i}] != {value}" for i, value in enumerate(field.neutral)]
        else:
            changes.append(f"row.{field.name} != {field.neutral}")
    return " or ".join(changes)


_CHANNELS = "first, second, third"
_jittered = ChannelJitter.numba
_work = njit(unrolled("work", "row", [f"return {_at_work()}"], {}))
_on_channels = njit(chained("on_channels", f"{_CHANNELS}, row", _CHANNELS, [op.numba for op in CHANNEL_OPS]))
_on_places = njit(chained("on_places", "numbers, size, fill, row", "", [op.numba for op in PLACE_OPS]))


@njit(cache=True, nogil=True)
def write(words, planes, constants, row, out):
    """Three planes as the pixels of a finished view, with all that is done to its channels and places.

    Args:
        words: uint16 vector.
        planes: the first word of each channel's plane, three integers.
        constants: a FINISH record.
        row: of VIEW_PARAMETERS; gives what is done to the finished view.
        out: uint8 [S * S * 3 * bytes of a number], the view's memory.
    """
    size = np.int64(constants.size)
    if constants.crop_only:
        _write_levels(words, planes, size, out)
        return
    scale = (constants.scale[0], constants.scale[1], constants.scale[2])
    shift = (constants.shift[0], constants.shift[1], constants.shift[2])
    jittered_scale, jittered_shift = _jittered(scale, shift, row)
    work, zero = _work(row), (np.uint8(0), np.uint8(0), np.uint8(0))
    if constants.format == _UINT8:
        if work or jittered_scale != scale or jittered_shift != shift:
            for x in range(size * size):
                values = _pixel(words, planes, x, jittered_scale, jittered_shift, row)
                for channel in range(3):
                    out[at(3 * x + channel)] = _level((values[channel] - shift[channel]) / scale[channel])
        else:
            _write_levels(words, planes, size, out)
        hole = (constants.hole[0], constants.hole[1], constants.hole[2])
        _on_places(out, size, hole, row)
    elif constants.format == _FLOAT32:
        floats = out.view(np.float32)
        if work:
            for x in range(size * size):
                values = _pixel(words, planes, x, jittered_scale, jittered_shift, row)
                for channel in range(3):
                    floats[at(3 * x + channel)] = values[channel]
        else:
            for x in range(size * size):
                for channel in range(3):
                    word = words[at(planes[channel] + x)]
                    value = _normalize(word, jittered_scale[channel], jittered_shift[channel])
                    floats[at(3 * x + channel)] = value
        _on_places(floats, size, zero, row)
    else:
        bits = out.view(np.uint16)
        _write_bits(words, planes, constants.format, size, jittered_scale, jittered_shift, work, row, bits)
        _on_places(bits, size, zero, row)


@njit(cache=True)
def _write_bits(words, planes, number_format, size, scale, shift, work, row, bits):
    """The pixels as numbers of 16 bits."""
    if work:
        for x in range(size * size):
            values = _pixel(words, planes, x, scale, shift, row)
            for channel in range(3):
                value = values[channel]
                number = half_bits(value) if number_format == _FLOAT16 else bfloat_bits(value)
                bits[at(3 * x + channel)] = number
    elif number_format == _FLOAT16:
        for x in range(size * size):
            for channel in range(3):
                value = _normalize(words[at(planes[channel] + x)], scale[channel], shift[channel])
                bits[at(3 * x + channel)] = half_bits(value)
    else:
        for x in range(size * size):
            for channel in range(3):
                value = _normalize(words[at(planes[channel] + x)], scale[channel], shift[channel])
                bits[at(3 * x + channel)] = bfloat_bits(value)


@njit(cache=True)
def _write_levels(words, planes, size, out):
    """The pixels rounded to levels."""
    for x in range(size * size):
        for channel in range(3):
            level = np.uint16(words[at(planes[channel] + x)] + np.uint16(64)) >> np.uint16(7)
            out[at(3 * x + channel)] = level


@njit(cache=True, inline="always")
def _level(value):
    """The nearest level of a number that is in [0, WHITE] or cut off there."""
    return np.uint8(min(max(value * np.float32(1 / 128), np.float32(0)), np.float32(255)) + np.float32(0.5))


@njit(cache=True, inline="always")
def _pixel(words, planes, x, scale, shift, row):
    """The three channels of a pixel, normalized, after the operations on them."""
    first = _normalize(words[at(planes[0] + x)], scale[0], shift[0])
    second = _normalize(words[at(planes[1] + x)], scale[1], shift[1])
    third = _normalize(words[at(planes[2] + x)], scale[2], shift[2])
    return _on_channels(first, second, third, row)


@njit(cache=True, inline="always")
def _normalize(value, scale, shift):
    return np.float32(min(value, WHITE)) * scale + shift
