"""From an ``OptimizerConfig`` and a module to its optimizer: parameter groups, SGD or LARS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from fastssl.optim.lars import LARS
from pipelines.command.errors import UserError


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How weights move. The defaults are the SGD of Huang et al., 2022, on ImageNet."""

    name: Literal["sgd", "lars"] = "sgd"
    base_lr: float = 0.03  # at a global batch of 256; grows linearly with the batch (Goyal et al., 2017)
    momentum: float = 0.9
    weight_decay: float = 1e-4
    nesterov: bool = False  # sgd only
    warmup_epochs: float = 10.0  # linear, from 0
    # after the warm-up: cosine, to 0 at the end of the run; or steps, a tenth of the rate from each drop on
    schedule: Literal["cosine", "steps"] = "cosine"
    drops: tuple[float, ...] = ()  # steps only: shares of the run, as 0.6 0.8 for epochs 120 and 160 of 200
    exclude_norm_and_bias: bool = False  # vectors and scalars: no decay and, with lars, no adaptation
    trust_coefficient: float = 1e-3  # lars only

    def __post_init__(self) -> None:
        if self.name not in ("sgd", "lars"):
            raise UserError(f"unknown optimizer {self.name}: sgd or lars")
        if self.schedule not in ("cosine", "steps"):
            raise UserError(f"unknown schedule {self.schedule}: cosine or steps")
        if (self.schedule == "steps") != bool(self.drops):
            raise UserError(f"optimizer drops belong to schedule steps, not to {self.schedule}: {self.drops}")
        if not all(0 < drop < 1 for drop in self.drops) or list(self.drops) != sorted(set(self.drops)):
            raise UserError(f"optimizer drops must rise between 0 and 1, shares of the run, not {self.drops}")
        if not self.base_lr > 0:
            raise UserError(f"optimizer base_lr must be positive, not {self.base_lr}")
        if not 0 <= self.momentum < 1:
            raise UserError(f"optimizer momentum must lie in [0, 1), not {self.momentum}")
        if not self.weight_decay >= 0:
            raise UserError(f"optimizer weight_decay must not be negative, not {self.weight_decay}")
        if not self.warmup_epochs >= 0:
            raise UserError(f"optimizer warmup_epochs must not be negative, not {self.warmup_epochs}")
        if not self.trust_coefficient > 0:
            raise UserError(f"optimizer trust_coefficient must be positive, not {self.trust_coefficient}")
        if self.nesterov and (self.name == "lars" or self.momentum == 0):
            raise UserError("optimizer nesterov needs sgd with a momentum above 0")


def parameter_groups(module: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """The module's trainable parameters as an optimizer's groups.

    Returns:
        One group, or, with ``exclude_norm_and_bias``, one of the tensors of two dimensions or more and one of
        the rest (batch norms, biases), neither decayed nor adapted.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    if not config.exclude_norm_and_bias:
        return [{"params": trainable, "weight_decay": config.weight_decay}]
    weights = {"params": [p for p in trainable if p.ndim > 1], "weight_decay": config.weight_decay}
    excluded: dict[str, Any] = {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0}
    if config.name == "lars":
        excluded["adapt"] = False
    return [weights, excluded]


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer of a module that is on its device already. Set its rate before each step."""
    groups = parameter_groups(module, config)
    if config.name == "lars":
        return LARS(groups, lr=0.0, momentum=config.momentum, trust_coefficient=config.trust_coefficient)
    # On a CPU the fused step is no faster, and wrong where a gradient's strides are not its parameter's.
    fused = all(p.is_cuda for group in groups for p in group["params"])
    return torch.optim.SGD(groups, lr=0.0, momentum=config.momentum, nesterov=config.nesterov, fused=fused)


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The rate of each of the groups of ``parameter_groups``, by the name to log it under."""
    names = ("learning_rate", "learning_rate_norm_and_bias")
    return {name: group["lr"] for name, group in zip(names, optimizer.param_groups, strict=False)}
