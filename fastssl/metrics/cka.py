"""Linear CKA: similarity of two representations of the same images.

Kornblith, Norouzi, Lee, Hinton, "Similarity of neural network representations revisited" (2019); of layers
too wide or too many to keep, from minibatches by the unbiased HSIC: Nguyen, Raghu, Kornblith, "Do wide and
deep networks learn the same things?" (2021), section 3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastssl.metrics.covariance import cross_covariance


def linear_cka(first: Tensor, second: Tensor) -> float:
    """|Y'X|^2 / (|X'X| |Y'Y|) of centered features, in [0, 1]; NaN where all rows of one are equal.

    Computed in float64. It does not change when either is rotated, scaled or shifted.

    Args:
        first: float [N, D], on the CPU.
        second: float [N, E], of the same images row by row.
    """
    pairs = ((first, second), (first, first), (second, second))
    cross, own, others = (float(cross_covariance(*pair).norm()) for pair in pairs)
    return cross**2 / (own * others) if own * others > 0 else math.nan


def gram(features: Tensor) -> Tensor:
    """Inner products of a layer's centered outputs: [N, ...] to float64 [N, N], on the CPU.

    Centering does not change the unbiased HSIC, and keeps float32 exact enough.
    """
    rows = features.detach().flatten(1).float()
    rows = rows - rows[0]  # equal rows become 0 exactly
    rows = rows - rows.mean(0)
    return (rows @ rows.T).double().cpu()


def unbiased_hsic(first: Tensor, second: Tensor) -> Tensor:
    """HSIC_1 of Song et al. (2012) of each layer of one network with each of the other, float64 [P, Q].

    Args:
        first: Gram matrices of P layers, float64 [P, N, N], N >= 4.
        second: of Q layers, float64 [Q, N, N], of the same images.
    """
    count = first.shape[1]
    off_diagonal = 1 - torch.eye(count, dtype=torch.float64)
    first, second = first * off_diagonal, second * off_diagonal
    traces = first.flatten(1) @ second.flatten(1).T
    sums = first.sum((1, 2))[:, None] * second.sum((1, 2))
    paths = first.sum(2) @ second.sum(2).T
    return (traces + sums / ((count - 1) * (count - 2)) - 2 * paths / (count - 2)) / (count * (count - 3))


class MinibatchCka:
    """CKA of P layers of one network with Q of another, from sums of unbiased HSICs over minibatches."""

    def __init__(self) -> None:
        self._cross: Tensor | float = 0.0
        self._first: Tensor | float = 0.0
        self._second: Tensor | float = 0.0

    def add(self, first: Tensor, second: Tensor) -> None:
        """Take in a minibatch: Gram matrices float64 [P, N, N] and [Q, N, N]."""
        self._cross = self._cross + unbiased_hsic(first, second)
        self._first = self._first + unbiased_hsic(first, first).diagonal()
        self._second = self._second + unbiased_hsic(second, second).diagonal()

    def matrix(self) -> Tensor:
        """CKA, float64 [P, Q], about in [0, 1]; NaN of a layer that gives all images the same."""
        first, second = (torch.as_tensor(part).clamp(min=0) for part in (self._first, self._second))
        found = torch.as_tensor(self._cross) / (first[:, None] * second).sqrt()
        return torch.where(found.isfinite(), found, math.nan)
