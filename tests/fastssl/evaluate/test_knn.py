from typing import Any

import numpy as np
import pytest
import torch

from fastssl.evaluate import knn
from fastssl.evaluate.knn import knn_top1

CLASSES = 7


def features(count: int, seed: int, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clusters, float32 [N, 12] of uneven lengths, and their labels."""
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(CLASSES, 12))
    labels = generator.integers(CLASSES, size=count)
    points = centers[labels] + spread * generator.normal(size=(count, 12))
    return (points * generator.uniform(0.1, 10, (count, 1))).astype(np.float32), labels


BANK, BANK_LABELS = features(400, 0)
QUERIES, QUERY_LABELS = features(150, 1)


def votes_in_float64(k: int) -> np.ndarray:
    """The vote of each class for each query, [M, C], from the formula, one query at a time."""
    bank, queries = (
        points.astype(np.float64) / np.sqrt((points.astype(np.float64) ** 2).sum(1, keepdims=True))
        for points in (BANK, QUERIES)
    )
    votes = np.zeros((len(queries), CLASSES))
    for i, query in enumerate(queries):
        similarity = bank @ query
        for j in np.argsort(-similarity, kind="stable")[:k]:
            votes[i, BANK_LABELS[j]] += np.exp(similarity[j] / 0.07)
    return votes


def top1(neighbors: tuple[int, ...], dtype: torch.dtype = torch.float32) -> dict[int, float]:
    return knn_top1(
        torch.from_numpy(BANK).to(dtype),
        torch.from_numpy(BANK_LABELS),
        torch.from_numpy(QUERIES).to(dtype),
        torch.from_numpy(QUERY_LABELS),
        CLASSES,
        neighbors,
    )


def test_it_is_the_weighted_vote_of_the_formula_for_each_of_several_k() -> None:
    expected = {}
    for k in (20, 1, 200, 5, 400):
        votes = votes_in_float64(k)
        first, second = np.sort(votes, 1)[:, -1], np.sort(votes, 1)[:, -2]
        assert ((first - second) / first).min() > 1e-4  # no decision hangs on rounding
        expected[k] = (votes.argmax(1) == QUERY_LABELS).mean()
        assert 0.2 < expected[k] < 0.9  # neither chance nor certainty
    found = top1(tuple(expected))
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("largest", [1, 399, 401, 400 * 7, 400 * 149, 400 * 150])
def test_blocks_change_nothing_and_are_bounded(largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = top1((20, 200))
    held: list[int] = []
    topk = torch.Tensor.topk

    def record(similarity: torch.Tensor, count: int, dim: int) -> object:
        held.append(similarity.numel())
        return topk(similarity, count, dim)

    monkeypatch.setattr(knn, "_LARGEST_BLOCK", largest)
    monkeypatch.setattr(torch.Tensor, "topk", record)
    assert top1((20, 200)) == whole
    assert sum(held) == 400 * 150
    assert max(held) <= max(largest, 400)  # a single query at least


def test_votes_of_very_many_classes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 images may name 65536 classes: votes are held for few queries at a time."""
    held: list[int] = []
    scatter = torch.Tensor.scatter_add_

    def record(votes: torch.Tensor, *arguments: Any) -> object:
        held.append(votes.numel())
        return scatter(votes, *arguments)

    bank, labels, queries, wanted = map(torch.from_numpy, (BANK, BANK_LABELS, QUERIES, QUERY_LABELS))
    few = knn_top1(bank, labels, queries, wanted, CLASSES, (20,))
    monkeypatch.setattr(knn, "_LARGEST_BLOCK", 1 << 17)
    monkeypatch.setattr(torch.Tensor, "scatter_add_", record)
    assert knn_top1(bank, labels, queries, wanted, 1 << 16, (20,)) == few
    assert max(held) == 1 << 17


def test_k_beyond_the_bank_counts_as_all_of_it() -> None:
    assert top1((5000,))[5000] == top1((400,))[400]


def test_weights_matter_and_lengths_do_not() -> None:
    bank = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.8, -0.6]])
    labels = torch.tensor([0, 1, 1])
    for length in (1.0, 1e-3, 1e3):
        query = torch.tensor([[length, 0.0]])
        # one neighbor at similarity 1 outweighs two at 0.8: e^(1/.07) > 2 e^(.8/.07)
        assert knn_top1(bank * length, labels, query, torch.tensor([0]), 2, (1, 3)) == {1: 1.0, 3: 1.0}
    # at 0.96 the two outweigh the one: 2 e^(.96/.07) > e^(1/.07)
    bank = torch.tensor([[1.0, 0.0], [0.96, 0.28], [0.96, -0.28]])
    assert knn_top1(bank, labels, torch.tensor([[1.0, 0.0]]), torch.tensor([0]), 2, (1, 3)) == {
        1: 1.0,
        3: 0.0,
    }


def test_half_precision_features_are_compared_in_full() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        assert top1((20,), dtype)[20] == pytest.approx(top1((20,))[20], abs=0.05)
