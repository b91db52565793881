"""InfoNCE with EqCo's margin, its bound on mutual information, and the choice of a query's negatives.

Zhu, Huang, Li, Zhang, Sun, "EqCo: equivalent rules for self-supervised contrastive learning" (2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipelines.batch import to_device
from pipelines.command.ranges import CountOrNone, PositiveOrNone, Temperature, check_ranges
from pipelines.files.kernels import njit
from pipelines.keys import absorb, hash_keys, to_integer


class InfoNCE:
    """InfoNCE with the settings of a config: loss per query, and its metrics."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Contrastive loss with EqCo's margin."""

        temperature: Temperature = 0.1
        """tau, by which similarities are divided."""
        num_negatives: CountOrNone = None
        """K, for each query; None: all that the batch has."""
        eqco_alpha: PositiveOrNone = None
        """Number of negatives that K stand for; None: K, the usual loss."""

        def __post_init__(self) -> None:
            check_ranges(self, "--method.loss.")

        def at_most(self, count: int) -> Self:
            """The same with no more than ``count`` negatives; None stays None."""
            return replace(self, num_negatives=self.num_negatives and min(count, self.num_negatives))

    def __init__(self, config: Config) -> None:
        self.config = config

    def __call__(self, positive: Tensor, negatives: Tensor) -> Tensor:
        """Loss of each query [B], from its similarities over tau: see ``info_nce``."""
        return info_nce(positive, negatives, self.config.eqco_alpha)

    @torch.no_grad()
    def metrics(
        self, mean_loss: Tensor, losses: Tensor, positive: Tensor, rivals: Tensor, num_negatives: int
    ) -> dict[str, Tensor]:
        """Bounds on mutual information and on gradients, similarity of positives, accuracy.

        The accuracy is the share of queries whose own key is their nearest.

        Args:
            mean_loss: over queries, 0-dim.
            losses: loss of each query, [B].
            positive: similarity over tau of each query and its own key, [B].
            rivals: the greatest of each query's negatives, [B].
            num_negatives: K.
        """
        return {
            "mi_bound": mutual_information_bound(mean_loss, num_negatives, self.config.eqco_alpha),
            "query_gradient_bound": query_gradient_bound(losses, self.config.temperature),
            "positive_similarity": positive.mean() * self.config.temperature,
            "accuracy": (positive > rivals).float().mean(),
        }


def info_nce(positive: Tensor, negatives: Tensor, alpha: float | None = None) -> Tensor:
    """Equation 10 for each query: -log(e^p / (e^p + alpha/K sum_j e^n_j)).

    That is equation 1 with the margin m = tau log(alpha/K) of equation 5, computed as
    softplus(logsumexp(n) + m/tau - p).

    Args:
        positive: floating [B], the similarity p of the query and its own key over the temperature tau.
        negatives: floating [B, K], those of the query and K other keys.
        alpha: the number of negatives that K stand for; None: K itself, plain InfoNCE (m = 0).

    Returns:
        [B], float32 (float64 for float64), without the overflow of the exponentials.
    """
    dtype = torch.promote_types(negatives.dtype, torch.float32)
    rivals = negatives.to(dtype).logsumexp(1)
    if alpha is not None:
        rivals = rivals + math.log(alpha / negatives.shape[1])
    return functional.softplus(rivals - positive.to(dtype))


def mutual_information_bound(loss: Tensor, num_negatives: int, alpha: float | None = None) -> Tensor:
    """Lower bound on the mutual information of positives: log(1 + K e^(m/tau)) - loss, in nats.

    It is the empirical lower bound of section 2.1 and figure 1; K e^(m/tau) is alpha, or K without a margin.

    Args:
        loss: mean of ``info_nce`` over queries, any shape.
        num_negatives: K.
        alpha: see ``info_nce``.
    """
    return math.log1p(num_negatives if alpha is None else alpha) - loss


def query_gradient_bound(losses: Tensor, temperature: float) -> Tensor:
    """Upper bound of theorem 2 on the mean norm of a query's gradient, 0-dim.

    The mean over queries of 2/tau (1 - s_0 / (s_0 + alpha mean_i s_i)), s_i = e^(similarity/tau); alpha is K
    without EqCo. The fraction is e^(-loss).

    Args:
        losses: ``info_nce`` of each query.
        temperature: tau.
    """
    return 2 / temperature * -torch.expm1(-losses).mean()


def shared_negative_columns(
    draw: tuple[int, ...], *, images: int, count: int, own: range, device: torch.device
) -> Tensor:
    """``negative_columns`` of one view with one draw for all queries, as EqCo's authors' code has it.

    Offsets from a query's own image to its negatives are drawn once and shared; arguments as there.
    """
    offsets = 1 + draw_keys(draw, candidates=images - 1, count=count, device=device)
    rows = torch.arange(own.start, own.stop, device=device)
    return (rows[:, None] + offsets) % images


def negative_columns(
    draw: tuple[int, ...], *, views: int, images: int, count: int, own: range, device: torch.device
) -> Tensor:
    """Columns of a global batch's keys that are negatives of this rank's queries: no query's own image.

    Queries and keys are both numbered view x images + image; a query's draw follows from that number.

    Args:
        draw: 64-bit integers that key the draw, such as seed, step of the loader and purpose.
        views: V, of each image.
        images: N of the global batch, at least 2.
        count: K, at most V (N - 1). All of them are taken in order, fewer are drawn for each query anew:
            K distinct ones, every subset equally likely.
        own: positions of the images whose queries are asked for, such as a rank's share of the batch.
        device: device of the result; never synchronized.

    Returns:
        int64 [V len(own), K], numbers of keys.
    """
    others = views * (images - 1)
    if count == others:
        chosen = torch.arange(others, device=device)[None]
    else:
        rows = np.concatenate([view * images + np.array(own) for view in range(views)])
        chosen = to_device(draw_subsets(np.array(draw), rows, others, count), device)
    image = chosen % (images - 1)  # among the others of its view
    own_image = torch.arange(own.start, own.stop, device=device).repeat(views)[:, None]
    return chosen // (images - 1) * images + image + (image >= own_image)


def draw_keys(draw: tuple[int, ...], *, candidates: int, count: int, device: torch.device) -> Tensor:
    """``count`` distinct numbers below ``candidates``, int64 [count], as ``draw`` names them."""
    return to_device(draw_subsets(np.array(draw), np.zeros(1, np.int64), candidates, count)[0], device)


@njit(cache=True)
def draw_subsets(draw: np.ndarray, rows: np.ndarray, candidates: int, size: int) -> np.ndarray:
    """Draw ``size`` distinct numbers below ``candidates`` per row (Floyd's algorithm), int64 [R, size].

    A row's numbers depend on ``draw`` and its own number in ``rows`` (int64 vectors), not on other rows.
    Every subset is equally likely; the order within it is not random.
    """
    out = np.empty((len(rows), size), np.int64)
    taken_by = np.full(candidates, -1)
    stream = hash_keys(draw)
    for i, row in enumerate(rows):
        state = absorb(stream, row)
        for column in range(size):
            last = candidates - size + column
            pick = to_integer(absorb(state, column), last + 1)
            if taken_by[pick] == i:
                pick = last
            taken_by[pick] = i
            out[i, column] = pick
    return out
