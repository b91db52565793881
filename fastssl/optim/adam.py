"""Adam: steps of a running mean of gradients over the root of one of their squares.

Kingma, Ba, "Adam: a method for stochastic optimization" (2015), algorithm 1, with an L2 penalty in the
gradient as torch's ``Adam`` has it (not AdamW's decay).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from fastssl.optim.optimizer import Groups, Implementation, Optimizer
from pipelines.command.ranges import BelowOne, Positive


class Adam(Optimizer, torch.optim.Adam):
    """Adaptive moment estimation, for each tensor w with gradient g in its step t, from 1::

        d = g + weight_decay * w
        m = beta1 * m + (1 - beta1) * d
        v = beta2 * v + (1 - beta2) * d^2
        w = w - lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon)

    The state is torch's, whatever the implementation: a run may resume with another one. On a GPU auto is
    torch's fused step (``implementation`` "fused"). Nothing is read back to the host: t is counted on the
    parameter's device.
    """

    implementations: ClassVar[tuple[Implementation, ...]] = ("foreach",)
    implementation: str

    @dataclass(frozen=True, kw_only=True)
    class Config(Optimizer.Config):
        """Adam. The defaults are those of Newell and Deng's (2020) public code, but for the schedule."""

        beta1: BelowOne = 0.8
        """Share of the old mean of gradients in the new one."""
        beta2: BelowOne = 0.999
        """Share of the old mean of squared gradients in the new one."""
        epsilon: Positive = 1e-8
        """What is added to the root of the mean square."""

        def small(self) -> Self:
            """The same at a rate for minutes on the built-in scenes."""
            return replace(self, base_lr=4e-3, weight_decay=0.0, warmup_epochs=min(0.4, self.warmup_epochs))

    def __init__(self, config: Config, groups: Groups) -> None:
        betas = (config.beta1, config.beta2)
        super().__init__(groups, lr=0.0, betas=betas, eps=config.epsilon)
        self.use("auto")

    def use(self, implementation: Implementation) -> None:
        """See ``Optimizer.use``. auto: fused where all parameters are on a GPU, else foreach."""
        super().use(implementation)
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        fused = implementation == "auto" and all(parameter.is_cuda for parameter in parameters)
        self._chosen = implementation
        self.implementation = "fused" if fused else "foreach"
        self._step_supports_amp_scaling = fused  # asked by torch's scaler
        for group in (self.defaults, *self.param_groups):  # a loaded state may bring another machine's
            group.update(fused=fused, foreach=not fused)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state, whatever implementation it comes from."""
        super().load_state_dict(state_dict)
        for parameter, state in self.state.items():
            state["step"] = state["step"].to(parameter.device, torch.float32)
        self.use(self._chosen)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient. Closures are not taken."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter].update(_initial_state(parameter))
            if self.implementation == "foreach" and parameters:
                _step_all(parameters, [self.state[p] for p in parameters], group)
        if self.implementation == "fused":
            super().step()


def _initial_state(parameter: Tensor) -> dict[str, Tensor]:
    """Torch's names: t, m and v."""
    return {
        "step": torch.zeros((), device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }


def _corrections(beta: float, steps: list[Tensor]) -> list[Tensor]:
    """1 - beta^t for each 0-dim t, exact in float32 also for a beta that is nearly 1."""
    if beta == 0:
        return [torch.ones_like(step) for step in steps]
    corrections = list(torch._foreach_mul(steps, math.log(beta)))
    torch._foreach_expm1_(corrections)
    torch._foreach_neg_(corrections)
    return corrections


def _step_all(weights: list[Tensor], states: list[dict[str, Tensor]], group: dict[str, Any]) -> None:
    """Move all weights of a group in place, with torch's operations on lists."""
    beta1, beta2 = group["betas"]
    steps, means, squares = ([state[name] for state in states] for name in ("step", "exp_avg", "exp_avg_sq"))
    torch._foreach_add_(steps, 1)
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    updates = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
    torch._foreach_lerp_(means, updates, 1 - beta1)
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, updates, updates, 1 - beta2)
    roots = torch._foreach_div(squares, _corrections(beta2, steps))
    torch._foreach_sqrt_(roots)
    torch._foreach_add_(roots, group["eps"])
    torch._foreach_mul_(roots, _corrections(beta1, steps))
    torch._foreach_addcdiv_(weights, means, roots, -group["lr"])
