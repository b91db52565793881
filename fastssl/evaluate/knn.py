"""k nearest neighbors: cosine similarity, votes weighted by exp(similarity / temperature).

Wu, Xiong, Yu, Lin, "Unsupervised feature learning via non-parametric instance discrimination" (2018),
section 3.4, with their temperature 0.07 and k = 200; k = 20 is DINO's choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch.nn import functional
from tyro.conf import arg

from fastssl.evaluate.protocol import Protocol
from fastssl.evaluate.subject import Subject
from pipelines.command.ranges import Counts, Range

_WARM = Range(at_least=0.0125)  # exp(1 / 0.0125) and sums of it are float32 numbers
_LARGEST_BLOCK = 1 << 25  # similarities or votes held at once: 128 MB


@dataclass(frozen=True, kw_only=True)
class Knn(Protocol):
    """k nearest neighbors: cosine similarity, votes weighted by exp(similarity / temperature)."""

    k: Counts = (20, 200)
    """Numbers of neighbors."""
    temperature: Annotated[float, _WARM, arg(help_behavior_hint=_WARM.shown)] = 0.07
    """Temperature of the votes' weights."""

    def measure(self, subject: Subject) -> dict[str, Any]:
        """Top-1 accuracy for each number of neighbors, ``top1_kK``."""
        bank, queries = subject.features("train"), subject.features("test")
        found = knn_top1(*bank, *queries, subject.data.num_classes, self.k, temperature=self.temperature)
        return {f"top1_k{k}": accuracy for k, accuracy in found.items()} | {
            "settings": {"similarity": "cosine"}
        }

    def report(self, subject: Subject, result: Mapping[str, Any]) -> str:
        """A table with the baselines of the run, where it has any."""
        lines = [f"{'kNN top-1':<20}" + "".join(f"{f'k={k}':>8}" for k in self.k)]
        for name, key in (("raw pixels", "knn_top1_pixels"), ("untrained encoder", "knn_top1_untrained")):
            if subject.baselines.get(key) is not None:
                lines.append(f"{name:<20}{'':>8}{subject.baselines[key]:>8.3f}")
        found = "".join(f"{result[f'top1_k{k}']:>8.3f}" for k in self.k)
        return "\n".join([*lines, f"{'trained encoder':<20}{found}"])


def knn_top1(
    bank: torch.Tensor,
    bank_labels: torch.Tensor,
    queries: torch.Tensor,
    query_labels: torch.Tensor,
    num_classes: int,
    k: tuple[int, ...],
    temperature: float = 0.07,
) -> dict[int, float]:
    """Top-1 accuracy for each number of neighbors.

    Args:
        bank: float [N, D], on any device; ``bank_labels`` int64 [N].
        queries: float [M, D]; ``query_labels`` int64 [M].
        num_classes: labels lie in [0, num_classes).
        k: numbers of neighbors; one larger than N counts as N.
        temperature: divides similarities before the votes' exponential.

    Returns:
        for each k the share of the queries whose heaviest class is theirs, in [0, 1].
    """
    bank = functional.normalize(bank.float(), dim=1)
    largest = min(max(k), len(bank))
    correct = dict.fromkeys(k, 0)
    step = max(1, _LARGEST_BLOCK // max(len(bank), num_classes))
    for start in range(0, len(queries), step):
        stop = start + step
        block = functional.normalize(queries[start:stop].float(), dim=1)
        similarity, nearest = (block @ bank.T).topk(largest, dim=1)
        weights, classes = (similarity / temperature).exp(), bank_labels[nearest]
        for count in k:
            votes = weights.new_zeros(len(block), num_classes)
            votes.scatter_add_(1, classes[:, :count], weights[:, :count])
            correct[count] += int((votes.argmax(1) == query_labels[start:stop]).sum())
    return {count: right / len(queries) for count, right in correct.items()}
