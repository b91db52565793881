"""The launch table of the GPU renderer: one row a view, filled on the host and copied in one piece.

A row is a row of VIEW_PARAMETERS and what can be derived from it once for all of a view's pixels. With the
rows go the numbers of the views that need a further pass, so that no other view pays for one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from numba import njit

from pipelines.views import VIEW_PARAMETERS, ViewSpec

# Kernels count in 1/257 of a grey level, in which bytes, and what is staged as uint16, are whole numbers.
WHITE = 65535
NO_SLOT = -1
ORDER_LENGTH = 4
CONTRAST_PART = 1

# Every field is 4 bytes wide, and the row 128 bytes long: a cache line.
LAUNCH_ROW = np.dtype(
    [
        *((name, VIEW_PARAMETERS[name]) for name in VIEW_PARAMETERS.names or ()),
        ("slot", "i4"),  # place among the staged views; NO_SLOT: finished in one pass
        ("split", "i4"),  # parts of the jitter before contrast; ORDER_LENGTH: there is no contrast
        ("radius", "i4"),  # taps on either side of the blur; 0: there is no blur
        ("decay", "f4"),  # the blur's weights are exp(decay * tap²), to be normalised
        ("scale", "f4", (3,)),  # of each channel: normalised = value * scale + shift, value in [0, WHITE]
        ("shift", "f4", (3,)),
        ("unused", "i4", (3,)),
    ]
)
ROW_WORDS = tl.constexpr(LAUNCH_ROW.itemsize // 4)


@dataclass(frozen=True, kw_only=True, eq=False)
class LaunchTable:
    """What the kernels need to know of V views, on their device.

    Attributes:
        rows: int32 [V * ROW_WORDS], the words of LAUNCH_ROW [V].
        adjusted: int32, the views whose contrast changes.
        blurred: int32, the views that are blurred.
        num_staged: views that are one or both.
    """

    rows: torch.Tensor
    adjusted: torch.Tensor
    blurred: torch.Tensor
    num_staged: int


def launch_table(parameters: np.ndarray, spec: ViewSpec, device: torch.device) -> LaunchTable:
    """The table of V views, on its way to the device when this returns: nothing waits for it.

    Args:
        parameters: VIEW_PARAMETERS [V], C-contiguous.
        spec: gives the size and the normalisation.
        device: of the kernels.
    """
    count, row_words = len(parameters), ROW_WORDS.value
    listed = _padded(count)
    host = torch.empty(count * row_words + 2 * listed, dtype=torch.int32, pin_memory=device.type == "cuda")
    rows, adjusted, blurred = np.split(host.numpy(), [count * row_words, count * row_words + listed])
    given = VIEW_PARAMETERS.itemsize // 4
    rows.reshape(count, row_words)[:, :given] = parameters.view(np.int32).reshape(count, given)
    scale, shift = 1 / (WHITE * np.array(spec.std)), -np.array(spec.mean) / np.array(spec.std)
    num_staged, num_adjusted, num_blurred = _derive(
        rows.view(LAUNCH_ROW), spec.size, scale, shift, adjusted, blurred
    )
    words = host.to(device, non_blocking=True)
    return LaunchTable(
        rows=words[: len(rows)],
        adjusted=words[len(rows) :][:num_adjusted],
        blurred=words[len(rows) + listed :][:num_blurred],
        num_staged=num_staged,
    )


@njit(cache=True, nogil=True)
def _derive(rows, size, scale, shift, adjusted, blurred):  # type: ignore[no-untyped-def]
    """Fill what rows have beyond VIEW_PARAMETERS, and the lists; how many are staged, adjusted, blurred."""
    num_staged = num_adjusted = num_blurred = 0
    for view in range(len(rows)):
        row = rows[view]
        row.split, row.radius, row.decay, row.slot = ORDER_LENGTH, 0, 0, NO_SLOT
        if row.contrast != 1:
            for place in range(ORDER_LENGTH):
                if row.order[place] == CONTRAST_PART:
                    row.split = place
            adjusted[num_adjusted] = view
            num_adjusted += 1
        if row.blur_sigma > 0 and size > 1:
            reach = min(np.float64(4) * row.blur_sigma, np.float64(size))
            row.radius = min(max(1, math.ceil(reach)), size - 1)  # as reference.blur_radius
            row.decay = -0.5 / max(row.blur_sigma, 1e-3) ** 2  # below, neighbours have no weight at all
            blurred[num_blurred] = view
            num_blurred += 1
        if row.contrast != 1 or row.radius > 0:
            row.slot = num_staged
            num_staged += 1
        for channel in range(3):
            row.scale[channel], row.shift[channel] = scale[channel], shift[channel]
    return num_staged, num_adjusted, num_blurred


def _padded(words: int) -> int:
    """Rounded up to 16 bytes: Triton compiles a kernel anew for pointers that are aligned otherwise."""
    return (words + 3) // 4 * 4


def _place(field: str) -> Any:
    """The word of a row where a field begins, as compiled code may use it."""
    assert LAUNCH_ROW.fields is not None
    return tl.constexpr(LAUNCH_ROW.fields[field][1] // 4)


TOP, LEFT, HEIGHT, WIDTH, FLIP = (_place(name) for name in ("top", "left", "height", "width", "flip"))
ORDER, AMOUNT = _place("order"), _place("brightness")  # amounts lie in the order of the parts' numbers
GREY, THRESHOLD = _place("grey"), _place("solarize_threshold")
HOLE_TOP, HOLE_LEFT, HOLE_SIZE = (_place(f"cutout_{name}") for name in ("top", "left", "size"))
SLOT, SPLIT, RADIUS, DECAY = (_place(name) for name in ("slot", "split", "radius", "decay"))
SCALE, SHIFT = _place("scale"), _place("shift")


@triton.jit
def number(row, PLACE: tl.constexpr):  # type: ignore[no-untyped-def]
    """A float32 field of a row."""
    return tl.load(row + PLACE).to(tl.float32, bitcast=True)
