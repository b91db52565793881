"""Equation 10 of Zhu et al. (2020) and what is logged beside it, in numpy's float64 and query by query."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from torch import Tensor

from fastssl.methods.info_nce import InfoNCE
from tests.helpers.figures_by_hand import query_gradient_norm

Negatives = Sequence[Sequence[int]]  # numbers of the keys that each query is told from


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.sqrt((rows**2).sum(1, keepdims=True)))


def equation_10(q: np.ndarray, own: np.ndarray, others: np.ndarray, tau: float, alpha: float) -> float:
    """The loss of one query [D], its key [D] and K others [K, D], as the paper writes it."""
    s = [math.exp(q @ key / tau) for key in (own, *others)]
    return -math.log(s[0] / (s[0] + alpha / len(others) * sum(s[1:])))


def mean_loss(
    q: np.ndarray, own: np.ndarray, keys: np.ndarray, negatives: Negatives, config: InfoNCE.Config
) -> float:
    """Equation 10's mean over queries [B, D] with their own keys [B, D], the negatives among ``keys``."""
    tau, alpha = config.temperature, config.eqco_alpha
    return float(
        np.mean(
            [
                equation_10(query, key, keys[others], tau, alpha or len(others))
                for query, key, others in zip(q, own, negatives, strict=True)
            ]
        )
    )


def assert_slopes(gradient: np.ndarray, loss_of: Callable[[np.ndarray], float], rows: np.ndarray) -> None:
    """Check a gradient of a loss of rows against differences of the loss, in five directions."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        direction = rng.normal(size=rows.shape)
        above, below = (loss_of(rows + h * direction) for h in (1e-5, -1e-5))
        assert (gradient * direction).sum() == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-5)


def assert_logged(
    metrics: dict[str, Tensor],
    q: np.ndarray,
    own: np.ndarray,
    keys: np.ndarray,
    negatives: Negatives,
    config: InfoNCE.Config,
) -> None:
    """Check what ``InfoNCE.metrics`` and the gradients give; arguments are those of ``mean_loss``."""
    tau, alpha = config.temperature, config.eqco_alpha
    expected = mean_loss(q, own, keys, negatives, config)
    positives = (q * own).sum(1)
    rivals = np.array([(query @ keys[others].T).max() for query, others in zip(q, negatives, strict=True)])
    assert metrics["loss"].item() == pytest.approx(expected, rel=1e-5)
    bound = math.log(1 + (alpha or len(negatives[0]))) - expected
    assert metrics["mi_bound"].item() == pytest.approx(bound, abs=1e-4)
    assert metrics["positive_similarity"].item() == pytest.approx(positives.mean(), abs=1e-5)
    assert metrics["accuracy"].item() == pytest.approx((positives > rivals).mean(), abs=1e-6)
    norms, bounds = [], []
    for query, key, others in zip(q, own, negatives, strict=True):
        stands_for = alpha or len(others)
        norms.append(query_gradient_norm(query, key, keys[others], tau, stands_for))
        s_0, s = np.exp(query @ key / tau), np.exp(keys[others] @ query / tau)
        bounds.append(2 / tau * (1 - s_0 / (s_0 + stands_for * s.mean())))  # theorem 2
    assert metrics["query_gradient_mean"].item() == pytest.approx(np.mean(norms), rel=1e-4)
    assert metrics["query_gradient_variance"].item() == pytest.approx(np.var(norms), rel=1e-3, abs=1e-5)
    assert metrics["query_gradient_bound"].item() == pytest.approx(np.mean(bounds), rel=1e-5)
    assert np.mean(bounds) >= np.mean(norms)
    assert all(value.ndim == 0 and not value.requires_grad for value in metrics.values())
