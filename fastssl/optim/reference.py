"""The rule of LARS and SGD for one tensor, in plain torch: what faster implementations are tested against."""

from __future__ import annotations

import torch
from torch import Tensor


def update_tensor(
    weight: Tensor,
    gradient: Tensor,
    buffer: Tensor,
    *,
    lr: float,
    weight_decay: float,
    momentum: float,
    trust_coefficient: float | None = None,
    nesterov: bool = False,
) -> None:
    """Move one weight w by its gradient g, in place::

        d  = g + weight_decay * w
        q  = trust_coefficient * |w| / |d|      1 where a norm is 0
        mu = momentum * mu + q * d
        w  = w - lr * mu                        nesterov: w - lr * (q * d + momentum * mu)

    Args:
        weight, gradient: w and g, of one shape and dtype.
        buffer: mu, 0 before the first step.
        lr, weight_decay, momentum: numbers of the tensor's group.
        trust_coefficient: LARS'; None: q is 1, as in SGD.
        nesterov: Nesterov's momentum (Sutskever et al., 2013).
    """
    update = gradient + weight_decay * weight
    if trust_coefficient is not None:
        weight_norm, update_norm = weight.norm(), update.norm()
        usable = (weight_norm > 0) & (update_norm > 0)
        update *= torch.where(usable, trust_coefficient * weight_norm / update_norm, 1.0)
    buffer.mul_(momentum).add_(update)
    weight.sub_(lr * (update + momentum * buffer if nesterov else buffer))
