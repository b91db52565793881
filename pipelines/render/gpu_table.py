"""The launch table of the GPU renderer: one row a view, filled on the host and copied in one piece.

A row is a row of VIEW_PARAMETERS and what can be derived from it once for all of a view's pixels. With the
rows go the numbers of the views that need a further pass, so that no other view pays for one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import triton.language as tl

from pipelines.files.kernels import njit
from pipelines.ops import VIEW_PARAMETERS
from pipelines.ops.color_jitter import contrast_place
from pipelines.ops.gpu_row import WHITE, word_of
from pipelines.views import ViewSpec

NO_SLOT = -1
_LINE = 128  # bytes that memory is read in

# Every field is 4 bytes wide, and the row whole cache lines long.
_FIELDS = np.dtype(
    [
        *((name, VIEW_PARAMETERS[name]) for name in VIEW_PARAMETERS.names or ()),
        ("slot", "i4"),  # position among the staged views; NO_SLOT: finished in one pass
        ("split", "i4"),  # parts of the jitter before contrast; NUM_PARTS: there is no contrast
        ("radius", "i4"),  # taps on either side of the blur; 0: there is no blur
        ("decay", "f4"),  # the blur's weights are exp(decay * tap²), to be normalized
        ("scale", "f4", (3,)),  # of each channel: normalized = value * scale + shift, value in [0, WHITE]
        ("shift", "f4", (3,)),
    ]
)
LAUNCH_ROW = np.dtype(
    {
        "names": list(_FIELDS.names or ()),
        "formats": [_FIELDS[name] for name in _FIELDS.names or ()],
        "itemsize": -(-_FIELDS.itemsize // _LINE) * _LINE,
    }
)
ROW_WORDS = tl.constexpr(LAUNCH_ROW.itemsize // 4)


@dataclass(frozen=True, kw_only=True, eq=False)
class LaunchTable:
    """Kernel arguments of V views, on their device."""

    rows: torch.Tensor
    """int32 [V * ROW_WORDS], the words of LAUNCH_ROW [V]."""
    adjusted: torch.Tensor
    """int32, the views whose contrast changes."""
    blurred: torch.Tensor
    """int32, the views that are blurred."""
    num_staged: int
    """Views that are one or both."""


def launch_table(parameters: np.ndarray, spec: ViewSpec, device: torch.device) -> LaunchTable:
    """The table of V views, on its way to the device when this returns: nothing waits for it.

    Args:
        parameters: VIEW_PARAMETERS [V], C-contiguous.
        spec: gives the size and the normalization.
        device: of the kernels.
    """
    count, row_words = len(parameters), ROW_WORDS.value
    listed = _padded(count)
    host = torch.empty(count * row_words + 2 * listed, dtype=torch.int32, pin_memory=device.type == "cuda")
    rows, adjusted, blurred = np.split(host.numpy(), [count * row_words, count * row_words + listed])
    given = VIEW_PARAMETERS.itemsize // 4
    rows.reshape(count, row_words)[:, :given] = parameters.view(np.int32).reshape(count, given)
    scale, shift = 1 / (WHITE.value * np.array(spec.std)), -np.array(spec.mean) / np.array(spec.std)
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
def _derive(rows, size, scale, shift, adjusted, blurred):
    """Fill what rows have beyond VIEW_PARAMETERS, and the lists; how many are staged, adjusted, blurred."""
    num_staged = num_adjusted = num_blurred = 0
    for view in range(len(rows)):
        row = rows[view]
        row.split, row.slot = contrast_place(row.order, row.contrast), NO_SLOT
        row.radius, row.decay = 0, 0
        if row.contrast != 1:
            adjusted[num_adjusted] = view
            num_adjusted += 1
        if row.blur_sigma > 0 and size > 1:
            reach = min(np.float64(4) * row.blur_sigma, np.float64(size))
            row.radius = min(max(1, math.ceil(reach)), size - 1)  # as gaussian_blur.blur_radius
            row.decay = -0.5 / max(row.blur_sigma, 1e-3) ** 2  # below, neighbors have no weight at all
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


SLOT, SPLIT, RADIUS, DECAY, SCALE, SHIFT = (
    word_of(name, LAUNCH_ROW) for name in ("slot", "split", "radius", "decay", "scale", "shift")
)
