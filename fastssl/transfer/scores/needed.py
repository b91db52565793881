"""``needed``: parts of predictions and targets without which a metric means nothing."""

from __future__ import annotations

import numpy as np


def needed(part: np.ndarray | None, name: str) -> np.ndarray:
    """The part.

    Raises:
        ValueError: it is None: the network or the source gives none.
    """
    if part is None:
        raise ValueError(f"no {name} to measure")
    return part
