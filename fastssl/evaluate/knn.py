"""k nearest neighbours: cosine similarity, votes weighted by exp(similarity / temperature).

Wu, Xiong, Yu, Lin, "Unsupervised feature learning via non-parametric instance discrimination" (2018),
section 3.4, with their temperature 0.07 and k = 200; k = 20 is DINO's choice.
"""

from __future__ import annotations

import torch
from torch.nn import functional

TEMPERATURE = 0.07
NEIGHBOURS = (20, 200)
MONITOR_NEIGHBOURS = 200
_LARGEST_BLOCK = 1 << 25  # similarities held at once: 128 MB


def knn_top1(
    bank: torch.Tensor,
    bank_labels: torch.Tensor,
    queries: torch.Tensor,
    query_labels: torch.Tensor,
    num_classes: int,
    neighbours: tuple[int, ...] = NEIGHBOURS,
) -> dict[int, float]:
    """Top-1 accuracy for each number of neighbours.

    Args:
        bank: float [N, D], on any device; ``bank_labels`` int64 [N].
        queries: float [M, D]; ``query_labels`` int64 [M].
        num_classes: labels lie in [0, num_classes).
        neighbours: each k; one larger than N counts as N.

    Returns:
        {k: share of the queries whose heaviest class is theirs}, in [0, 1].
    """
    bank = functional.normalize(bank.float(), dim=1)
    largest = min(max(neighbours), len(bank))
    correct = dict.fromkeys(neighbours, 0)
    for start in range(0, len(queries), max(1, _LARGEST_BLOCK // len(bank))):
        stop = start + max(1, _LARGEST_BLOCK // len(bank))
        block = functional.normalize(queries[start:stop].float(), dim=1)
        similarity, nearest = (block @ bank.T).topk(largest, dim=1)
        weights, classes = (similarity / TEMPERATURE).exp(), bank_labels[nearest]
        for k in neighbours:
            votes = weights.new_zeros(len(block), num_classes)
            votes.scatter_add_(1, classes[:, :k], weights[:, :k])
            correct[k] += int((votes.argmax(1) == query_labels[start:stop]).sum())
    return {k: count / len(queries) for k, count in correct.items()}
