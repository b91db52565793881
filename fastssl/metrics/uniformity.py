"""Alignment and uniformity of unit vectors: as losses, and as metrics that reveal a collapse.

Wang, Isola, "Understanding contrastive representation learning through alignment and uniformity on the
hypersphere", 2020, section 4.1, with the defaults of its public code: alpha = 2, t = 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_T = 2.0  # t; the uniformities of MSBReg's supplement, table 3, down to -3.8, fit it: the least is about -2 t


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """L_align: the mean over positive pairs of |x - y|^2, 0-dim, in [0, 4]; 0 when the pairs agree.

    Args:
        first: float32 [N, D], unit vectors.
        second: [N, D], the unit vector of another view of the same image, row by row.
    """
    return (first - second).square().sum(1).mean()


def uniformity(vectors: Tensor) -> Tensor:
    """L_uniform: the log of the mean over pairs of exp(-t |x - y|^2), 0-dim, in [-4 t, 0].

    0 when all are one; log 0F1(; D/2; t^2) - 2 t, a little above -4, for uniform vectors; -4 for orthogonal
    ones. A pair is two different images of the batch; none is paired with itself.

    Args:
        vectors: float32 [N, D], unit vectors of N >= 2 images, one view of each.
    """
    count = len(vectors)
    exponents = 2 * _T * (vectors @ vectors.T - 1)  # -t |x - y|^2 = -t (2 - 2 x.y)
    itself = torch.eye(count, dtype=torch.bool, device=vectors.device)
    log_sum = exponents.masked_fill(itself, -math.inf).flatten().logsumexp(0)
    return log_sum - math.log(count * (count - 1))
