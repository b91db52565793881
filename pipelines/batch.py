"""``Batch``, what every backend hands to a method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """B decoded images of any sizes, one after the other in one vector."""

    pixels: torch.Tensor
    """uint8 [total]; image b is [H, W, 3], RGB, upright, from ``offsets[b]`` on."""
    offsets: torch.Tensor
    """int64 [B], begin of each image, bytes."""
    heights: torch.Tensor
    """int32 [B], pixels."""
    widths: torch.Tensor
    """int32 [B], pixels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """One rank's share of a global batch: B samples, each seen in all its views.

    Ready on the current stream, valid until the next ``next()`` of its loader: buffers may be recycled.
    """

    step: int
    """Number of the global batch since the start of the run; with accumulated gradients several make one step
    of the optimizer."""
    epoch: int
    """Epoch, from 0."""
    views: tuple[torch.Tensor, ...]
    """One tensor per view group, [K_g * B, 3, S_g, S_g], channels-last, the B samples of its first view
    first."""
    sample_ids: torch.Tensor
    """int64 [B], ids that are stable in the source."""
    labels: torch.Tensor | None
    """int64 [B], or None where the source has no classes."""
    parameters: tuple[np.ndarray, ...]
    """VIEW_PARAMETERS [K_g, B] per view group."""

    def __len__(self) -> int:
        return len(self.sample_ids)

    def each_view(self) -> tuple[torch.Tensor, ...]:
        """The views one by one, each [B, 3, S, S], numbered across the groups."""
        return tuple(view for group in self.views for view in group.split(len(self)))


def to_device(numbers: np.ndarray, device: torch.device) -> torch.Tensor:
    """A few numbers as a tensor, without waiting for a GPU; on the CPU it shares their memory."""
    tensor = torch.from_numpy(numbers)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
