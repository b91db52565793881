"""Metrics of embeddings that methods log while training, computed without a host sync."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastssl.distributed.collectives import all_gather
from fastssl.metrics.query_gradients import query_gradient_norms
from fastssl.metrics.spread import effective_rank, feature_std
from fastssl.metrics.uniformity import alignment, uniformity


def embedding_diagnostics(
    first: Tensor, second: Tensor, losses: Tensor | None = None, queries: Sequence[Tensor] = ()
) -> dict[str, Tensor]:
    """Metrics of the global micro-batch, equal on every rank: detached 0-dim tensors.

    ``alignment`` of the pairs; ``uniformity``, ``feature_std`` and ``effective_rank`` of ``first``; with
    ``losses``, ``query_gradient_mean`` and ``query_gradient_variance`` (over queries, of |dL/dq|), but for a
    loss without a graph, as under ``no_grad``.

    Args:
        first: [B, D], this process's unit vectors of one view; of half precision they are taken to float32.
        second: [B, D], what they are to meet: the teacher's or the student's of another view, row by row.
        losses: see ``query_gradient_norms``.
        queries: see ``query_gradient_norms``.
    """
    with torch.autocast(first.device.type, enabled=False):
        pairs = all_gather(torch.stack([first, second], 1))
        one, other = pairs.to(torch.promote_types(pairs.dtype, torch.float32)).unbind(1)
        metrics = {
            "alignment": alignment(one, other),
            "uniformity": uniformity(one),
            "feature_std": feature_std(one),
            "effective_rank": effective_rank(one),
        }
        if losses is not None and losses.requires_grad:
            norms = all_gather(query_gradient_norms(losses, queries))
            metrics["query_gradient_mean"] = norms.mean()
            metrics["query_gradient_variance"] = norms.var(correction=0)
    return metrics
