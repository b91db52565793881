"""Gradient norms of a contrastive loss at its queries (Zhu et al., "EqCo", 2020, A.2 and figure 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def query_gradient_norms(losses: Tensor, queries: Sequence[Tensor]) -> Tensor:
    """|dL/dq| of each query q with its own loss L: no factor of a mean over queries. Detached [sum of B].

    By one backward of what lies between queries and losses, whose graph is kept; leaves get no gradient.

    Args:
        losses: loss of each query, any shape; none depends on another's query.
        queries: [B, D] each, of the graph of ``losses``, in no other role there: where a vector is also a key
            of others, give the query a node of its own, such as ``vector.view_as(vector)``.
    """
    gradients = torch.autograd.grad(losses.sum(), queries, retain_graph=True)
    return torch.cat([gradient.norm(dim=1) for gradient in gradients])
