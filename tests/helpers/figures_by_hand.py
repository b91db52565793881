"""The diagnostics of embeddings in numpy's float64, from their formulas and pair by pair."""

from __future__ import annotations

import math

import numpy as np


def alignment_by_hand(first: np.ndarray, second: np.ndarray) -> float:
    """Wang and Isola, 2020, section 4.1, alpha = 2."""
    return float(np.mean([np.linalg.norm(a - b) ** 2 for a, b in zip(first, second, strict=True)]))


def uniformity_by_hand(rows: np.ndarray) -> float:
    """Wang and Isola, 2020, section 4.1, t = 2."""
    potentials = [
        math.exp(-2 * sum((a - b) ** 2 for a, b in zip(rows[i], rows[j], strict=True)))
        for i in range(len(rows))
        for j in range(i)
    ]
    return math.log(sum(potentials) / len(potentials))


def effective_rank_by_hand(rows: np.ndarray) -> float:
    """The participation ratio of the squared singular values."""
    strengths = np.linalg.svd(rows, compute_uv=False) ** 2
    return float(strengths.sum() ** 2 / (strengths**2).sum())


def embedding_figures_by_hand(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """What a method logs of unit vectors [N, D] and those that they are to meet."""
    return {
        "alignment": alignment_by_hand(first, second),
        "uniformity": uniformity_by_hand(first),
        "feature_std": float(first.std(0).mean() * math.sqrt(first.shape[1])),
        "effective_rank": effective_rank_by_hand(first),
    }


def query_gradient_norm(
    q: np.ndarray, own: np.ndarray, others: np.ndarray, tau: float, alpha: float
) -> float:
    """|dL/dq| of EqCo's equation 10 for one query [D], its key [D] and K others [K, D].

    dL/dq = 1/tau (sum_j p_j k_j - (1 - p_+) k_+), p_+ = s_+ / Z, p_j = alpha/K s_j / Z.
    """
    m = tau * math.log(alpha / len(others))
    exponents = np.array([q @ own, *(others @ q + m)]) / tau
    shares = np.exp(exponents - exponents.max())
    shares /= shares.sum()
    gradient = (shares[1:] @ others - (1 - shares[0]) * own) / tau
    return float(np.sqrt(gradient @ gradient))
