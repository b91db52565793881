"""Verdict on a run in words, for its last line and summary.json."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fastssl.metrics.collapse import LEAST_RANK


def verdict(
    knn: Mapping[str, float | None], queries: int, values: Mapping[str, float], *, start: str = "untrained"
) -> str:
    """A clause on a run that has ended: collapsed or not, above or below its two baselines.

    Two accuracies are told apart where they differ by more than two standard errors of their difference.

    Args:
        knn: ``knn_top1``, ``knn_top1_untrained`` and ``knn_top1_pixels``, in [0, 1]; None: not measured.
        queries: images that they were measured on.
        values: the last metrics by name.
        start: what the encoder was before the run.
    """
    rank = values.get("effective_rank")
    collapsed = ""
    if rank is not None and rank < LEAST_RANK:
        spread = f"effective rank {rank:.3f}, feature_std {values.get('feature_std', 0):.3f}"
        collapsed = f"COLLAPSED, all embeddings are all but one ({spread}); "
    top1 = knn["knn_top1"]
    if top1 is None:
        return f"{collapsed}no kNN was measured: --monitor-data WHERE names labeled images"
    names = {"knn_top1_untrained": f"the {start} encoder", "knn_top1_pixels": "raw pixels"}
    words = [
        f"{_compared(top1, before, queries)} {name} ({before:.3f})"
        for key, name in names.items()
        if (before := knn[key]) is not None
    ]
    return f"{collapsed}kNN top-1 {top1:.3f} of {queries:,} images: {', '.join(words)}"


def _compared(top1: float, before: float, queries: int) -> str:
    error = math.sqrt((top1 * (1 - top1) + before * (1 - before)) / max(1, queries))
    if abs(top1 - before) <= 2 * error:
        return "not clearly above" if top1 >= before else "not clearly below"
    return "above" if top1 > before else "BELOW"
