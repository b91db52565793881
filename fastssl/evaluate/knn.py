"""k nearest neighbours: cosine similarity, votes weighted by exp(similarity / temperature).

Wu, Xiong, Yu, Lin, "Unsupervised feature learning via non-parametric instance discrimination" (2018),
section 3.4, with their temperature 0.07 and k = 200; k = 20 is DINO's choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from fastssl.evaluate.protocol import Protocol
from fastssl.evaluate.subject import Subject
from pipelines.command.errors import UserError

_LARGEST_BLOCK = 1 << 25  # similarities held at once: 128 MB


@dataclass(frozen=True, kw_only=True)
class Knn(Protocol):
    """k nearest neighbours: cosine similarity, votes weighted by exp(similarity / temperature)."""

    neighbours: tuple[int, ...] = (20, 200)
    """Each k."""
    temperature: float = 0.07
    """Temperature of the votes' weights."""

    def __post_init__(self) -> None:
        if not self.neighbours or min(self.neighbours) < 1:
            raise UserError(f"--neighbours must be at least 1, not {' '.join(map(str, self.neighbours))}")
        if not self.temperature > 0:
            raise UserError(f"--temperature must be positive, not {self.temperature}")

    def measure(self, subject: Subject) -> dict[str, Any]:
        """Top-1 accuracy for each number of neighbours, ``top1_kK``."""
        bank, queries = subject.features("train"), subject.features("test")
        found = knn_top1(
            *bank, *queries, subject.data.num_classes, self.neighbours, temperature=self.temperature
        )
        return {f"top1_k{k}": accuracy for k, accuracy in found.items()} | {
            "settings": {"similarity": "cosine"}
        }

    def report(self, subject: Subject, result: Mapping[str, Any]) -> str:
        """A table with the baselines of the run, where it has any."""
        lines = [f"{'kNN top-1':<20}" + "".join(f"{f'k={k}':>8}" for k in self.neighbours)]
        for name, key in (("raw pixels", "knn_top1_pixels"), ("untrained encoder", "knn_top1_untrained")):
            if subject.baselines.get(key) is not None:
                lines.append(f"{name:<20}{'':>8}{subject.baselines[key]:>8.3f}")
        found = "".join(f"{result[f'top1_k{k}']:>8.3f}" for k in self.neighbours)
        return "\n".join([*lines, f"{'trained encoder':<20}{found}"])


def knn_top1(
    bank: torch.Tensor,
    bank_labels: torch.Tensor,
    queries: torch.Tensor,
    query_labels: torch.Tensor,
    num_classes: int,
    neighbours: tuple[int, ...],
    temperature: float = 0.07,
) -> dict[int, float]:
    """Top-1 accuracy for each number of neighbours.

    Args:
        bank: float [N, D], on any device; ``bank_labels`` int64 [N].
        queries: float [M, D]; ``query_labels`` int64 [M].
        num_classes: labels lie in [0, num_classes).
        neighbours: each k; one larger than N counts as N.
        temperature: divides similarities before the votes' exponential.

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
        weights, classes = (similarity / temperature).exp(), bank_labels[nearest]
        for k in neighbours:
            votes = weights.new_zeros(len(block), num_classes)
            votes.scatter_add_(1, classes[:, :k], weights[:, :k])
            correct[k] += int((votes.argmax(1) == query_labels[start:stop]).sum())
    return {k: count / len(queries) for k, count in correct.items()}
