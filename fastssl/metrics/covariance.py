"""Covariance of features in float64, from blocks: a copy of all would be twice as large as they are."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 8192  # rows taken to float64 at once


def cross_covariance(first: Tensor, second: Tensor) -> Tensor:
    """Covariance (over N) of features [N, D] and [N, E] of the same images, float64 [D, E], on the CPU."""
    means = _mean(first), _mean(second)
    total = torch.zeros(first.shape[1], second.shape[1], dtype=torch.float64)
    for one, other in zip(first.split(_BLOCK), second.split(_BLOCK), strict=True):
        total += (one.double() - means[0]).T @ (other.double() - means[1])
    return total / len(first)


def projected(features: Tensor, directions: Tensor) -> Tensor:
    """Centered features [N, D] along directions float64 [D, K]: float64 [N, K]."""
    mean = _mean(features)
    return torch.cat([(part.double() - mean) @ directions for part in features.split(_BLOCK)])


def _mean(features: Tensor) -> Tensor:
    """Mean row, float64 [D]; of equal rows exactly that row."""
    first = features[0].double()
    return first + sum((part.double() - first).sum(0) for part in features.split(_BLOCK)) / len(features)
