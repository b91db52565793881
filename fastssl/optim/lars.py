"""LARS: stochastic gradient descent whose step is scaled, tensor by tensor, to the tensor's own norm.

Four conventions are in the wild and differ as soon as the learning rate changes. This is the one of BYOL's
public code: the decay is part of the gradient whose norm is taken, and the rate stays out of the momentum.
SimCLR's code has the same ratio with the rate inside the momentum; others add the norms of gradient and
decay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from fastssl.optim.multi_tensor import MultiTensorOptimizer
from fastssl.optim.optimizer import Groups, Optimizer
from pipelines.command.ranges import BelowOne, Positive

_Tensors = list[Tensor] | tuple[Tensor, ...]


class LARS(MultiTensorOptimizer):
    """Layer-wise adaptive rate scaling (You, Gitman, Ginsburg, 2017), for each tensor w with gradient g::

        d  = g + weight_decay * w
        q  = trust_coefficient * |w| / |d|      1 where a norm is 0, and in groups with ``adapt`` False
        mu = momentum * mu + q * d
        w  = w - lr * mu

    Nothing is read back to the host: ratios are chosen on the device. Parameters are float32, in any memory
    format. A group may set its own ``lr``, ``weight_decay`` and ``adapt``.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Optimizer.Config):
        """LARS."""

        momentum: BelowOne = 0.9
        """Share of the last step's update in this one's."""
        trust_coefficient: Positive = 1e-3
        """Length of a tensor's update as a share of the tensor's own, before the learning rate."""

        def small(self) -> Self:
            """The same at 16 times the rate: a batch of 64 then moves weights about as far as thousands."""
            return replace(self, base_lr=16 * self.base_lr, warmup_epochs=min(0.4, self.warmup_epochs))

    def __init__(self, config: Config, groups: Groups) -> None:
        exclude = config.exclude_norm_and_bias
        groups = [{"adapt": not (exclude and group["norm_and_bias"]), **group} for group in groups]
        defaults = {"lr": 0.0, "momentum": config.momentum, "trust_coefficient": config.trust_coefficient}
        super().__init__(groups, defaults)
        self.use("auto")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient. Closures are not taken."""
        if self.implementation == "triton":
            self._kernel_step()
        elif self.implementation == "reference":
            self._reference_step()
        else:
            self._foreach_step()

    def _foreach_step(self) -> None:
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            gradients = [p.grad for p in parameters]
            updates = torch._foreach_add(gradients, parameters, alpha=group["weight_decay"])
            if group["adapt"]:
                torch._foreach_mul_(updates, _trust_ratios(parameters, updates, group["trust_coefficient"]))
            buffers = [self._momentum_buffer(p) for p in parameters]
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, updates)
            torch._foreach_add_(parameters, buffers, alpha=-group["lr"])


def _trust_ratios(parameters: _Tensors, updates: _Tensors, coefficient: float) -> list[Tensor]:
    """One 0-dim tensor for each parameter."""
    weight_norms = torch.stack(torch._foreach_norm(parameters))
    update_norms = torch.stack(torch._foreach_norm(updates))
    usable = (weight_norms > 0) & (update_norms > 0)
    return list(torch.where(usable, coefficient * weight_norms / update_norms, 1.0).unbind())
