"""Spread of a batch's embeddings: metrics that reach their minimum in a collapse."""

from __future__ import annotations

import torch
from torch import Tensor


def feature_std(vectors: Tensor) -> Tensor:
    """Standard deviation of unit vectors [N, D], scaled to [0, 1], 0-dim; 0 if all are equal.

    The standard deviation of each dimension over the batch, averaged, times sqrt(D) (SimSiam, figure 2).
    """
    return vectors.detach().std(0, correction=0).mean() * vectors.shape[1] ** 0.5


@torch.no_grad()
def rank_me(vectors: Tensor) -> Tensor:
    """RankMe (Garrido, Balestriero, Najman, LeCun, 2023), 0-dim, in [1, min(N, D)].

    The exponential of the entropy of the singular values s_i, p_i = s_i / sum s_i + 1e-7. It weighs small
    singular values more than ``effective_rank``. The paper takes 25,600 images. A decomposition is computed,
    for which a GPU is waited for: not for a training step. ``vectors`` [N, D] are not normalized.
    """
    values = torch.linalg.svdvals(vectors.to(torch.promote_types(vectors.dtype, torch.float32)))
    shares = values / values.sum() + 1e-7
    return (-(shares * shares.log()).sum()).exp()


@torch.no_grad()
def effective_rank(vectors: Tensor) -> Tensor:
    """Number of directions that vectors [N, D] fill about evenly, 0-dim float32 (float64), in [1, min(N, D)].

    It is the participation ratio (``rank_me`` is an entropy's exponential) of the eigenvalues l_i of the
    second moment M = Z'Z / N about the origin::

        (sum_i l_i)^2 / sum_i l_i^2 = (tr M)^2 / |M|_F^2

    which for unit vectors is 1 / |M|_F^2. It is 1 if and only if all are one up to their signs and lengths,
    and min(N, D) if and only if all singular values of Z are equal. The mean is not taken away, so that
    vectors that are nearly alike count as one direction however their remainders are spread. No
    decomposition is computed: ZZ', where that is the smaller, has the same trace and norm.
    """
    rows = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    count, dim = rows.shape
    gram = rows.T @ rows if dim <= count else rows @ rows.T
    return gram.diagonal().sum().square() / gram.square().sum()
