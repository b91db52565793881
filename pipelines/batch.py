"""``Batch``, what every backend hands to a method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """B decoded images of any sizes, one after the other in one vector.

    Attributes:
        pixels: uint8 [total]; image b is [H, W, 3], RGB, upright, from ``offsets[b]`` on.
        offsets: int64 [B], bytes.
        heights: int32 [B].
        widths: int32 [B].
    """

    pixels: torch.Tensor
    offsets: torch.Tensor
    heights: torch.Tensor
    widths: torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """One rank's share of a global batch: B samples, each seen in all its views.

    Ready on the current stream, valid until the next ``next()`` of its loader: buffers may be recycled.

    Attributes:
        step: number of the global batch since the start of the run; with accumulated gradients several make
            one step of the optimizer.
        epoch: from 0.
        views: for each view group one tensor [K_g * B, 3, S_g, S_g], channels-last, the B samples of
            its first view first.
        sample_ids: int64 [B].
        labels: int64 [B], or None where the source has no classes.
        parameters: for each view group VIEW_PARAMETERS [K_g, B].
    """

    step: int
    epoch: int
    views: tuple[torch.Tensor, ...]
    sample_ids: torch.Tensor
    labels: torch.Tensor | None
    parameters: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.sample_ids)

    def each_view(self) -> tuple[torch.Tensor, ...]:
        """The views one by one, each [B, 3, S, S], numbered across the groups."""
        return tuple(view for group in self.views for view in group.split(len(self)))


def to_device(numbers: np.ndarray, device: torch.device) -> torch.Tensor:
    """A few numbers as a tensor, without waiting for a GPU; on the CPU it shares their memory."""
    tensor = torch.from_numpy(numbers)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
