"""Prediction of a network for one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """m objects found, and maps, in the pixels of the original image; what is not predicted is None."""

    boxes: np.ndarray | None = None
    """float32 [m, 4], left, top, right, bottom."""
    scores: np.ndarray | None = None
    """float32 [m], falling."""
    classes: np.ndarray | None = None
    """int64 [m], position in the class names of the data."""
    masks: np.ndarray | None = None
    """bool [m, H, W]."""
    segmentation: np.ndarray | None = None
    """uint8 [H, W], class of each pixel."""
    depth: np.ndarray | None = None
    """float32 [H, W]."""
    label: int | None = None
    """Class of the image."""
