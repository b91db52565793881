"""Labels of sources that have some."""

from __future__ import annotations

import numpy as np

from pipelines.sources import Index


def labels_of(index: Index) -> list[int]:
    """The labels of all samples, which are int64."""
    assert index.labels is not None
    assert index.labels.dtype == np.int64
    numbers: list[int] = index.labels.tolist()
    return numbers
