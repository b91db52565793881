"""``DenseBatch``: images of different sizes with their targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pipelines.targets import Targets


@dataclass(frozen=True, kw_only=True, eq=False)
class DenseBatch:
    """One rank's share of a global batch: B samples, one view of each.

    Ready on the current stream, valid until the next ``next()`` of its loader.
    """

    step: int
    """Number of the global batch since the start of the run."""
    epoch: int
    """Epoch, from 0."""
    images: torch.Tensor
    """float [B, 3, H, W], normalized, channels-last; each view stands at the top left, the rest is 0."""
    sizes: np.ndarray
    """int64 [B, 2], height and width of each view within ``images``."""
    original_sizes: np.ndarray
    """int64 [B, 2], height and width of each upright image before its view was made."""
    targets: tuple[Targets, ...]
    """Targets of each view, in its pixels."""
    labels: torch.Tensor | None
    """int64 [B], class of each image, or None where the source has none."""
    sample_ids: np.ndarray
    """int64 [B], ids that are stable in the source."""
    indices: np.ndarray
    """int64 [B], positions in the source of the samples that are shown, substitutes among them."""

    def __len__(self) -> int:
        return len(self.sample_ids)
