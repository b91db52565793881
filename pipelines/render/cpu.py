"""The CPU renderer: decoded pixels and rows of VIEW_PARAMETERS to finished views, one thread a call.

Tested against ``pipelines.render.reference``. The work is done in 16-bit fixed point (``fixed_point``),
colour by colour: ``resample`` -> ``color`` -> ``blur`` -> ``finish``. The compiled code holds no Python
lock, allocates nothing and is cached on disk; each thread brings its own ``Workspace``.
"""

from __future__ import annotations

import numpy as np
from numba import from_dtype, njit, types

from pipelines.render.blur import blur, blur_words
from pipelines.render.color import adjust
from pipelines.render.finish import FINISH, NUMBER_BYTES, NumberFormat, pack, solarize, to_lab, write
from pipelines.render.fixed_point import LANES, padded
from pipelines.render.resample import plan, resample
from pipelines.views import VIEW_PARAMETERS, ViewSpec

_ALIGNMENT = 64  # bytes: a cache line
_MISMATCH = -1


class Workspace:
    """Scratch memory of one thread, grown on demand and kept. The first one compiles the renderer."""

    def __init__(self) -> None:
        _render.compile(_SIGNATURE)  # once a process; from numba's cache once a machine
        self.words = np.empty(0, np.uint16)

    def grow(self, count: int) -> None:
        """Make room for ``count`` words; what was in there is lost."""
        memory = np.empty(2 * count + _ALIGNMENT, np.uint8)
        begin = -memory.ctypes.data % _ALIGNMENT
        self.words = memory[begin : begin + 2 * count].view(np.uint16)


def render_constants(spec: ViewSpec, number_format: NumberFormat) -> np.ndarray:
    """What ``render_views`` needs of a spec, packed once: an opaque record.

    Args:
        spec: of the views; gives size, colour space and normalisation.
        number_format: "uint8": levels that are not normalised, rounded, in the spec's colour space, with
            Cutout's hole at the rounded mean, which is what a later normalisation takes closest to 0.
            "float32", "float16", "bfloat16": normalised, the hole at 0.
    """
    return pack(spec, number_format)


def render_views(
    image: np.ndarray,
    parameters: np.ndarray,
    sample: int,
    constants: np.ndarray,
    out: np.ndarray,
    workspace: Workspace,
) -> None:
    """Render all K views of one image into a batch.

    Args:
        image: uint8 [H, W, 3], RGB, upright, C-contiguous; may be read-only.
        parameters: VIEW_PARAMETERS [K, B].
        sample: b, the image's place in the batch.
        constants: of ``render_constants``.
        out: [K, B, S, S, 3], C-contiguous, of uint8, float32 or float16, or uint16 for the bits of
            bfloat16. ``out[:, b]`` is written.
        workspace: of the calling thread.

    Raises:
        ValueError: if the shapes do not fit together, or ``out`` not the format of ``constants``.
    """
    numbers = out.view(np.uint8)
    needed = _render(image, parameters, sample, constants, numbers, workspace.words)
    if needed > 0:
        workspace.grow(needed)
        needed = _render(image, parameters, sample, constants, numbers, workspace.words)
    if needed == _MISMATCH:
        raise ValueError(
            f"out {out.dtype} {out.shape}, sample {sample}, do not fit parameters {parameters.shape} "
            f"and constants {constants}"
        )


@njit(cache=True, nogil=True)
def _render(image, parameters, sample, constants, out, words):  # type: ignore[no-untyped-def]
    """0; or the words of scratch that are missing, with nothing done; or _MISMATCH."""
    finish = constants[0]
    views, samples, rows, columns, row_bytes = out.shape
    if (views, samples) != parameters.shape or not 0 <= sample < samples:
        return _MISMATCH
    if not rows == columns == finish.size or row_bytes != 3 * NUMBER_BYTES[finish.format]:
        return _MISMATCH
    scratch = 3 * _plane_words(finish.size)
    needed = 0
    for view in range(views):
        row = parameters[view, sample]
        needed = max(needed, plan(row.height, row.width, finish.size, scratch).end)
        needed = max(needed, scratch + blur_words(row.blur_sigma, finish.size))
    if needed > len(words):
        return needed
    for view in range(views):
        row = parameters[view, sample]
        _render_view(image, row, finish, scratch, words, out[view, sample].reshape(-1))
    return 0


@njit(cache=True)
def _render_view(image, row, finish, scratch, words, out):  # type: ignore[no-untyped-def]
    size, plane_words = finish.size, _plane_words(finish.size)
    layout = plan(row.height, row.width, size, scratch)
    resample(image, row.top, row.left, row.height, row.width, row.flip, layout, words, 0, plane_words)
    adjust(words, 0, plane_words, size * size, row)
    colors = 1 if row.grey else 3
    if row.blur_sigma > 0:
        blur(words, 0, plane_words, colors, size, row.blur_sigma, scratch)
    if row.solarize_threshold <= 1:
        for plane in range(colors):
            solarize(words, plane * plane_words, size * size, row.solarize_threshold)
    planes = (0, 0, 0) if row.grey else (0, plane_words, 2 * plane_words)
    if finish.lab:
        if row.grey:
            words[plane_words : plane_words + size * size] = words[: size * size]
            words[2 * plane_words : 2 * plane_words + size * size] = words[: size * size]
        planes = (0, plane_words, 2 * plane_words)
        to_lab(words, 0, plane_words, size * size)
    write(words, planes, finish, row, out)


@njit(cache=True, inline="always")
def _plane_words(size: int) -> int:
    """From one colour of a view to the next: whole vectors, and one more that ``resample`` may overwrite."""
    return padded(size * size) + LANES


_SIGNATURE = types.int64(
    types.Array(types.uint8, 3, "C", readonly=True),
    types.Array(from_dtype(VIEW_PARAMETERS), 2, "A", readonly=True),
    types.int64,
    types.Array(from_dtype(FINISH), 1, "C", readonly=True),
    types.uint8[:, :, :, :, ::1],
    types.uint16[::1],
)
