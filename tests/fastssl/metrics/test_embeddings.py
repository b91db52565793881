import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fastssl.methods.info_nce import info_nce
from fastssl.metrics.embeddings import embedding_diagnostics
from fastssl.metrics.query_gradients import query_gradient_norms
from fastssl.metrics.spread import effective_rank, feature_std, rank_me
from tests.helpers.figures_by_hand import (
    effective_rank_by_hand,
    embedding_figures_by_hand,
    query_gradient_norm,
)

HALVES = [torch.float16, torch.bfloat16]


def unit_vectors(count: int, dim: int, seed: int = 0, offset: float = 0.0) -> np.ndarray:
    """Random directions, about a common one where ``offset`` is large."""
    rows = np.random.default_rng(seed).normal(size=(count, dim)) + offset
    return np.asarray(rows / np.sqrt((rows**2).sum(1, keepdims=True)))


def array(tensor: Tensor) -> np.ndarray:
    """Of any number format, as float64."""
    return tensor.detach().double().numpy()


@pytest.mark.parametrize(("count", "dim"), [(40, 7), (7, 40), (16, 16)])
@pytest.mark.parametrize("offset", [0.0, 1.0, 30.0])
def test_effective_rank_is_the_participation_ratio_of_the_squared_singular_values(
    count: int, dim: int, offset: float
) -> None:
    rows = unit_vectors(count, dim, offset=offset)
    expected = effective_rank_by_hand(rows)
    assert 1 <= expected <= min(count, dim)
    assert (expected < 1.01) == (offset > 2)
    value = effective_rank(torch.from_numpy(rows).float())
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-5)
    unit = torch.from_numpy(rows)
    second_moment = array(unit.T @ unit / count)
    assert 1 / (second_moment**2).sum() == pytest.approx(expected, rel=1e-9)  # for unit vectors


@pytest.mark.parametrize(("count", "dim"), [(40, 7), (7, 40)])
def test_rank_me_is_the_exponential_of_the_singular_values_entropy(count: int, dim: int) -> None:
    rows = unit_vectors(count, dim, offset=1.0)
    values = np.linalg.svd(rows, compute_uv=False)
    shares = values / values.sum()
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert rank_me(torch.from_numpy(rows)).item() == pytest.approx(expected, rel=1e-5)
    assert rank_me(torch.eye(5)).item() == pytest.approx(5, rel=1e-5)
    assert rank_me(torch.ones(6, 3)).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("count", "dim"), [(12, 4), (4, 12)])
def test_effective_rank_of_known_arrangements(count: int, dim: int) -> None:
    axes = torch.eye(dim)[torch.arange(count) % dim]
    assert effective_rank(axes).item() == pytest.approx(min(count, dim))
    assert effective_rank(axes * 1e-3).item() == pytest.approx(min(count, dim), rel=1e-5)  # at any scale
    one = torch.from_numpy(unit_vectors(1, dim)).float()
    assert effective_rank(one.expand(count, dim)).item() == pytest.approx(1)
    signs = torch.tensor([1.0, -1.0]).repeat(count // 2)[:, None]
    assert effective_rank(one * signs).item() == pytest.approx(1)
    halves = torch.cat([axes[:1].expand(count // 2, dim), axes[1:2].expand(count // 2, dim)])
    assert effective_rank(halves).item() == pytest.approx(2)


@pytest.mark.parametrize("dtype", HALVES)
def test_effective_rank_of_half_precision_is_that_of_the_rounded_values(dtype: torch.dtype) -> None:
    for offset in (0.0, 3.0):
        rows = torch.from_numpy(unit_vectors(300, 20, offset=offset)).to(dtype)
        assert effective_rank(rows).item() == pytest.approx(effective_rank_by_hand(array(rows)), rel=1e-5)


def test_feature_std_tells_collapse_from_spread() -> None:
    rows = unit_vectors(50, 8, offset=0.5)
    expected = float(np.mean(np.std(rows, axis=0)) * math.sqrt(8))
    assert feature_std(torch.from_numpy(rows).float()).item() == pytest.approx(expected, rel=1e-5)
    assert feature_std(torch.from_numpy(rows[:1]).float().expand(50, 8)).item() == pytest.approx(0, abs=1e-6)
    uniform = torch.from_numpy(unit_vectors(20_000, 16))
    assert feature_std(uniform).item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("alpha", [None, 0.5, 256.0, 65536.0])
@pytest.mark.parametrize("tau", [0.07, 0.2])
def test_query_gradients_are_those_of_equation_10(alpha: float | None, tau: float) -> None:
    """Of two directions of queries against one pool of keys, as a symmetric loss has them."""
    pool = unit_vectors(12, 5, seed=9)
    arrays = [(unit_vectors(6, 5, seed), unit_vectors(6, 5, seed + 1)) for seed in (0, 4)]
    leaves, queries, losses = [], [], []
    for q, own in arrays:
        leaf = torch.from_numpy(q).requires_grad_()
        query = leaf * 1.0
        positive = (query * torch.from_numpy(own)).sum(1) / tau
        losses.append(info_nce(positive, query @ torch.from_numpy(pool).T / tau, alpha))
        leaves.append(leaf)
        queries.append(query)
    norms = query_gradient_norms(torch.stack(losses), queries)
    expected = [
        query_gradient_norm(query, key, pool, tau, alpha or len(pool))
        for q, own in arrays
        for query, key in zip(q, own, strict=True)
    ]
    np.testing.assert_allclose(array(norms), expected, rtol=1e-7)
    assert not norms.requires_grad
    assert all(leaf.grad is None for leaf in leaves)
    torch.stack(losses).mean().backward()  # the graph is there still
    assert all(leaf.grad is not None for leaf in leaves)
    assert array(norms).max() <= 2 / tau  # by inequality 12


def test_a_node_of_its_own_sets_a_query_apart_from_the_key_that_it_is_too() -> None:
    vectors = torch.from_numpy(unit_vectors(6, 5)).requires_grad_()
    queries = vectors.view_as(vectors)
    others = queries @ vectors.T / 0.2
    others = others[~torch.eye(6, dtype=torch.bool)].view(6, 5)
    losses = info_nce((queries * vectors.roll(3, 0)).sum(1) / 0.2, others)
    rows = array(vectors)
    expected = [
        query_gradient_norm(rows[i], rows[(i + 3) % 6], np.delete(rows, i, 0), 0.2, 5) for i in range(6)
    ]
    np.testing.assert_allclose(array(query_gradient_norms(losses, [queries])), expected, rtol=1e-7)
    assert np.abs(array(query_gradient_norms(losses, [vectors])) - expected).max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
def test_figures_of_two_views_are_those_of_the_formulas(dtype: torch.dtype) -> None:
    first, second = (torch.from_numpy(unit_vectors(9, 5, seed, 0.7)).to(dtype) for seed in (0, 1))
    with torch.autocast("cpu", torch.bfloat16):
        metrics = embedding_diagnostics(first, second)
    expected = embedding_figures_by_hand(array(first), array(second))
    assert metrics.keys() == expected.keys()
    for name, value in metrics.items():
        assert value.dtype == torch.float32
        assert value.shape == ()
        # rounded to bfloat16 a vector's length is 1 within 2**-9, but uniformity takes it for 1
        assert value.item() == pytest.approx(expected[name], rel=1e-5 if dtype == torch.float32 else 1e-2), (
            name
        )


def test_figures_of_the_gradient_are_left_out_where_there_is_no_graph() -> None:
    first, second = (torch.from_numpy(unit_vectors(8, 5, seed)).float() for seed in (0, 1))
    first.requires_grad_()

    def metrics() -> dict[str, Tensor]:
        queries = first * 1.0
        losses = info_nce((queries * second).sum(1) / 0.2, queries @ second.T / 0.2, 16.0)
        return embedding_diagnostics(queries, second, losses, [queries])

    with_graph = metrics()
    with torch.no_grad():
        without = metrics()
    gradient = {"query_gradient_mean", "query_gradient_variance"}
    assert with_graph.keys() == without.keys() | gradient
    assert not gradient & without.keys()
    assert not any(value.requires_grad for value in with_graph.values())
    keys = array(second)
    norms = [query_gradient_norm(q, keys[i], keys, 0.2, 16.0) for i, q in enumerate(array(first))]
    assert with_graph["query_gradient_mean"].item() == pytest.approx(np.mean(norms), rel=1e-5)
    assert with_graph["query_gradient_variance"].item() == pytest.approx(np.var(norms), rel=1e-4)
