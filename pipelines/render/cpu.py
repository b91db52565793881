"""The CPU renderer: decoded pixels and rows of VIEW_PARAMETERS to finished views, one thread a call.

Tested against ``pipelines.render.reference``. The work is done in 16-bit fixed point (``fixed_point``), a
plane a color, by the operations' own functions (``pipelines.ops``) and ``finish``. The compiled code frees
the GIL, allocates nothing and is cached on disk; each thread brings its own ``Workspace``.

Budget, core-us per view of 224 pixels from images of 500 x 375. Expected: aims of a first trial, float32.
Measured: ``python -m benchmarks.render``, one core of a Zen 5 with AVX-512.

    step                                      expected   measured
    crop, resize, flip, write as uint8             100         62
    brightness, contrast, saturation, hue       50-100         17   (10 without hue)
    blur, sigma 1; sigma 2                     65; 130     36; 63
    whole chain, p .8, gray .2, blur .5, solarize .2           95

Writing float16 in place of uint8 costs 7 more, float32 19. On a Zen 4 that others used too the crop cost 70
and the chain 131; there without AVX-512 (NUMBA_CPU_FEATURES with all but its flags) 105 and 167, and at 32
pixels, from images as small (``--size 32``), the chain 7.3.
"""

from __future__ import annotations

import numpy as np
from numba import from_dtype, types

from pipelines.files.kernels import compile_once, njit
from pipelines.ops import AFTER_BLUR, BEFORE_BLUR, VIEW_PARAMETERS, ColorJitter
from pipelines.ops.color_jitter import NUM_PARTS, contrast_place, gray_sum
from pipelines.ops.fixed_point import LANES, padded
from pipelines.ops.gaussian_blur import blur, blur_words
from pipelines.ops.lab import lab_words
from pipelines.ops.resample import resample
from pipelines.ops.resample_plan import plan
from pipelines.ops.unrolled import chained
from pipelines.render.finish import FINISH, NUMBER_BYTES, crop_constants, render_constants, write

__all__ = ["Workspace", "crop_constants", "render_constants", "render_views"]

_ALIGNMENT = 64  # bytes: a cache line
_LONGEST_SIDE = 65535  # of a crop box: places in it are 16-bit words
_PIECE = 2048  # pixels; three planes of it are 12 KiB
_MISMATCH = -1


class Workspace:
    """Scratch memory of one thread, grown on demand and kept. The first one compiles the renderer."""

    def __init__(self) -> None:
        compile_once(_render, _SIGNATURE)
        self.words = np.empty(0, np.uint16)

    def grow(self, count: int) -> None:
        """Make room for ``count`` words; what was in there is lost."""
        memory = np.empty(2 * count + _ALIGNMENT, np.uint8)
        begin = -memory.ctypes.data % _ALIGNMENT
        self.words = memory[begin : begin + 2 * count].view(np.uint16)


def render_views(
    image: np.ndarray,
    parameters: np.ndarray,
    slot: int,
    constants: np.ndarray,
    out: np.ndarray,
    workspace: Workspace,
) -> None:
    """Render all K views of one image into a batch.

    Args:
        image: uint8 [H, W, 3], RGB, upright, C-contiguous; may be read-only.
        parameters: VIEW_PARAMETERS [K, B].
        slot: b, the position of the image in the batch.
        constants: of ``render_constants``, or of ``crop_constants``.
        out: [K, B, S, S, 3], C-contiguous, of uint8, float32 or float16, or uint16 for the bits of
            bfloat16. ``out[:, b]`` is written.
        workspace: of the calling thread.

    Raises:
        ValueError: if the shapes do not fit together, ``out`` not the format of ``constants``, or a side
            of a crop box is not in 1 to 65535.
    """
    numbers = out.view(np.uint8)
    needed = _render(image, parameters, slot, constants, numbers, workspace.words)
    if needed > 0:
        workspace.grow(needed)
        needed = _render(image, parameters, slot, constants, numbers, workspace.words)
    if needed == _MISMATCH:
        raise ValueError(
            f"out {out.dtype} {out.shape} and image {image.shape} do not fit slot {slot} of "
            f"{parameters} with constants {constants}"
        )


_POINT = "words, plane_words, begin, count, colors, row"
_jitter = ColorJitter.numba
_before_blur = njit(chained("before_blur", _POINT, "colors", [op.numba for op in BEFORE_BLUR]))
_after_blur = njit(chained("after_blur", _POINT, "colors", [op.numba for op in AFTER_BLUR]))


@njit(cache=True, nogil=True)
def _render(image, parameters, slot, constants, out, words):
    """Render; return 0, or, with nothing done, the words needed where there are fewer, or _MISMATCH."""
    needed = _words_needed(image, parameters, slot, constants[0], out)
    if needed == _MISMATCH or needed > len(words):
        return needed
    finish = constants[0]
    size = np.int64(finish.size)
    pixels, plane_words = size * size, _plane_words(size)
    scratch = 3 * plane_words
    for view in range(len(parameters)):
        row = parameters[view, slot]
        layout = plan(np.int64(row.height), np.int64(row.width), size, scratch)
        resample(image, row, layout, words, plane_words)
        if finish.crop_only:
            write(words, (0, plane_words, 2 * plane_words), finish, row, out[view, slot].reshape(-1))
            continue
        colors = _adjust(words, plane_words, pixels, row)
        if row.blur_sigma > 0:
            blur(words, plane_words, colors, size, row.blur_sigma, scratch)
        colors = _after_blur(words, plane_words, 0, pixels, colors, row)
        if finish.lab:
            lab_words(words, plane_words, pixels, colors)
            colors = 3
        planes = (0, 0, 0) if colors == 1 else (0, plane_words, 2 * plane_words)
        write(words, planes, finish, row, out[view, slot].reshape(-1))
    return 0


@njit(cache=True)
def _adjust(words, plane_words, pixels, row):
    """Color jitter, and what comes between it and blur, piece by piece; how many colors are left."""
    split, total, colors = contrast_place(row.order, row.contrast), 0, 3
    for begin in range(0, pixels, _PIECE):
        count = min(_PIECE, pixels - begin)
        _jitter(words, plane_words, begin, count, 0, split, 0.0, row)
        if split < NUM_PARTS:
            total += gray_sum(words, plane_words, begin, count)
        else:
            colors = _before_blur(words, plane_words, begin, count, 3, row)
    if split == NUM_PARTS:
        return colors
    mean = total / pixels
    for begin in range(0, pixels, _PIECE):
        count = min(_PIECE, pixels - begin)
        _jitter(words, plane_words, begin, count, split, NUM_PARTS, mean, row)
        colors = _before_blur(words, plane_words, begin, count, 3, row)
    return colors


@njit(cache=True)
def _words_needed(image, parameters, slot, finish, out):
    """The words of planes and scratch for all views of an image, or _MISMATCH."""
    views, samples, rows, columns, row_bytes = out.shape
    if (views, samples) != parameters.shape or not 0 <= slot < samples or image.shape[2] != 3:
        return _MISMATCH
    if not rows == columns == finish.size or row_bytes != 3 * NUMBER_BYTES[finish.format]:
        return _MISMATCH
    size = np.int64(finish.size)
    scratch = 3 * _plane_words(size)
    needed = 0
    for view in range(views):
        row = parameters[view, slot]
        if not (1 <= row.height <= _LONGEST_SIDE and 1 <= row.width <= _LONGEST_SIDE):
            return _MISMATCH
        needed = max(needed, plan(np.int64(row.height), np.int64(row.width), size, scratch).end)
        needed = max(needed, scratch + blur_words(row.blur_sigma, size))
    return needed


@njit(cache=True, inline="always")
def _plane_words(size):
    """Words per plane of a view: whole vectors, and one more that ``resample`` may overwrite."""
    return padded(size * size) + LANES


_SIGNATURE = types.int64(
    types.Array(types.uint8, 3, "C", readonly=True),
    types.Array(from_dtype(VIEW_PARAMETERS), 2, "A", readonly=True),
    types.int64,
    types.Array(from_dtype(FINISH), 1, "C", readonly=True),
    types.uint8[:, :, :, :, ::1],
    types.uint16[::1],
)
