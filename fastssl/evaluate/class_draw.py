"""Draws of training images by their classes: so many of each, by key."""

from __future__ import annotations

import numpy as np

from pipelines.plan.order import keyed_sample


def draw_per_class(labels: np.ndarray, counts: np.ndarray, purpose: str, seed: int) -> np.ndarray:
    """Indices of samples, sorted, int64 [sum of counts]: ``counts[c]`` of class c.

    A draw with larger counts contains one with smaller counts.

    Args:
        labels: int64 [N], in [0, C).
        counts: int64 [C], none above the class's samples.
        purpose: of the draw; with ``seed`` its key.
        seed: random seed.
    """
    order = keyed_sample(purpose, len(labels), len(labels), seed=seed)
    by_class = order[np.argsort(labels[order], kind="stable")]
    sizes = np.bincount(labels, minlength=len(counts))
    place = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within the class
    return np.sort(by_class[place < np.repeat(counts, sizes)])


def balanced_counts(sizes: np.ndarray, total: int, purpose: str, seed: int) -> np.ndarray:
    """Samples to draw of each class, int64 [C]: ``total`` dealt evenly, at least one of each class.

    What remains of an even deal goes to classes by key. A class with fewer samples gives all it has.

    Args:
        sizes: samples of each class, int64 [C]; some may be 0.
        total: samples in all.
        purpose: of the draw; with ``seed`` its key.
        seed: random seed.
    """
    classes = np.flatnonzero(sizes)
    each, rest = divmod(max(total, len(classes)), len(classes))
    lucky = keyed_sample(f"{purpose}/classes", len(classes), rest, seed=seed)
    counts = np.zeros_like(sizes)
    counts[classes] = each
    counts[classes[lucky]] += 1
    return np.minimum(counts, sizes)


def long_tailed_counts(sizes: np.ndarray, factor: float) -> np.ndarray:
    """Samples of each class of a long-tailed set, int64 [C]: n factor^(-c / (C - 1)) rounded down, or 1.

    Cao, Wei, Gaidon, Arechiga, Ma, "Learning imbalanced datasets with label-distribution-aware margin loss"
    (2019), section 4: CIFAR-10-LT and CIFAR-100-LT.

    Args:
        sizes: samples of each class, int64 [C >= 2]; n is the least of them, so that every class has enough.
        factor: of the first class's count over the last's, at least 1.
    """
    places = np.arange(len(sizes)) / (len(sizes) - 1)
    return np.maximum(1, np.floor(sizes.min() * factor**-places + 1e-9)).astype(np.int64)
