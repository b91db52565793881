"""Resize an image to any height and width, cut, mirror and normalize it, in the fixed point of views.

The definition is torchvision's ``resize`` with antialiasing, ``crop``, ``horizontal_flip`` and ``normalize``
on float images. Each row is normalized as soon as it is resampled: the view passes the cache once.
"""

from __future__ import annotations

import numpy as np
from numba import from_dtype, types

from pipelines.files.kernels import compile_once, njit
from pipelines.ops.fixed_point import LANES, WHITE, at, padded
from pipelines.ops.resample import fill_taps, resample_row
from pipelines.ops.resample_plan import plan_window

# One record: value * scale + shift is the normalized number of a value in [0, WHITE].
NORMALIZATION = np.dtype([("scale", "f4", (3,)), ("shift", "f4", (3,))])


def normalization(mean: tuple[float, float, float], std: tuple[float, float, float]) -> np.ndarray:
    """Pack the numbers that normalize a view: NORMALIZATION [1]."""
    packed = np.zeros(1, NORMALIZATION)
    packed["scale"] = 1 / (float(WHITE) * np.array(std))
    packed["shift"] = -np.array(mean) / np.array(std)
    return packed


def compile_resize() -> None:
    """Make ``resize`` ready: once a process."""
    compile_once(resize, _SIGNATURE)


@njit(cache=True, nogil=True)
def resize(image, box, resized, window, flip, colors, words, out):
    """Write a view of an image into its part of a batch.

    Args:
        image: uint8 [H, W, 3], C-contiguous, RGB; may be read-only.
        box: top, left, height and width of the part of the image that is resized, within it, each side at
            most 65535; (0, 0, H, W): all of it.
        resized: height and width of the box once resized.
        window: top, left, height and width of the view in the resized box, within it.
        flip: mirror the view left to right.
        colors: of ``normalization``.
        words: uint16 scratch.
        out: float32 [H_b, W_b, 3], at least as large as the view, which stands at the top left; the rest of
            it becomes 0.

    Returns:
        0; or, with nothing done, the words of scratch that are needed where there are fewer.
    """
    height, width = window[2], window[3]
    plane_words = padded(width) + LANES
    plan = plan_window(
        (box[2], box[3]), resized, (window[0], window[1]), (window[2], window[3]), 3 * plane_words
    )
    if plan.end > len(words):
        return plan.end
    fill_taps(plan, flip != 0, words)
    pixels, numbers = image.reshape(-1), out.reshape(-1)
    scale = (colors[0].scale[0], colors[0].scale[1], colors[0].scale[2])
    shift = (colors[0].shift[0], colors[0].shift[1], colors[0].shift[2])
    loaded, stride = 0, 3 * out.shape[1]
    for y in range(height):
        loaded = resample_row(pixels, image.shape, box[0], box[1], plan, y, loaded, words, 0, plane_words)
        line = numbers[y * stride : (y + 1) * stride]
        for x in range(width):
            for channel in range(3):
                value = np.float32(min(words[at(channel * plane_words + x)], WHITE))
                line[at(3 * x + channel)] = value * scale[channel] + shift[channel]
        line[3 * width :] = 0
    numbers[height * stride :] = 0
    return 0


_SIGNATURE = types.int64(
    types.Array(types.uint8, 3, "C", readonly=True),
    types.UniTuple(types.int64, 4),
    types.UniTuple(types.int64, 2),
    types.UniTuple(types.int64, 4),
    types.int64,
    types.Array(from_dtype(NORMALIZATION), 1, "C", readonly=True),
    types.uint16[::1],
    types.float32[:, :, ::1],
)
