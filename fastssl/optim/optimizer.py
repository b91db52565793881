"""The interface of optimizers: the fields that all have, parameter groups, and the rate of each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from fastssl.component import Component, ComponentConfig
from pipelines.command.errors import UserError
from pipelines.command.ranges import NotNegative, Positive, SharesWithinOne, ZeroToOne, check_ranges

Groups = list[dict[str, Any]]
Averages = Sequence[tuple[nn.Module, nn.Module, float]]
"""(target, source, momentum) of each moving average: see ``fastssl.models.teacher.update_averages``."""
Implementation = Literal["auto", "reference", "foreach", "triton", "apex"]


class Optimizer(Component, torch.optim.Optimizer):
    """Base of the optimizers, made by ``OPTIMIZER(config, groups)`` with the groups of ``parameter_groups``.

    Their rate is 0 until ``set_learning_rate``, before each step.
    """

    implementations: ClassVar[tuple[Implementation, ...]] = ()
    """Choices of ``use`` beside auto."""

    @dataclass(frozen=True, kw_only=True)
    class Config(ComponentConfig):
        """Learning-rate schedule and weight decay. The defaults are Huang et al.'s (2022) on ImageNet."""

        base_lr: Positive = 0.03
        """Peak learning rate at a global batch of 256; grows linearly with the batch (Goyal et al., 2017)."""
        norm_and_bias_lr_scale: NotNegative = 1.0
        """Learning rate of norms and biases (vectors and scalars) as a multiple of the weights'."""
        weight_decay: NotNegative = 1e-4
        """Coefficient of the L2 penalty."""
        exclude_norm_and_bias: bool = False
        """Leave norms and biases undecayed (and, with lars, unadapted)."""
        warmup_epochs: NotNegative = 10.0
        """Length of the linear warm-up from 0."""
        schedule: Literal["cosine", "steps", "linear"] = "cosine"
        """Decay after the warm-up. cosine: to 0 at the end of the run; steps: a tenth at each drop; linear:
        straight to end_share of the peak at the end of the run."""
        drops: SharesWithinOne = ()
        """Drops of schedule steps, as shares of the run: 0.6 0.8 for epochs 120 and 160 of 200."""
        end_share: ZeroToOne = 0.0
        """Rate at the end of schedule linear as a share of the peak."""
        clip_grad_norm: NotNegative = 0.0
        """Largest norm of the whole gradient, which is scaled down to it; 0: as it is."""

        def __post_init__(self) -> None:
            check_ranges(self, "--optimizer.")
            if (self.schedule == "steps") != bool(self.drops):
                raise UserError(
                    f"optimizer drops belong to schedule steps, not to {self.schedule}: {self.drops}"
                )
            if self.end_share and self.schedule != "linear":
                raise UserError(
                    f"optimizer end_share {self.end_share} belongs to schedule linear, not to {self.schedule}"
                )
            if list(self.drops) != sorted(set(self.drops)):
                raise UserError(f"optimizer drops must rise, shares of the run, not {self.drops}")

    @property
    def can_be_captured(self) -> bool:
        """True if a step can be part of a CUDA graph, which is replayed at other rates."""
        return False

    def use(self, implementation: Implementation) -> None:
        """Compute steps in another way from now on; results agree to the rounding of float32.

        Raises:
            UserError: this optimizer is not implemented so, or not on this machine.
        """
        if implementation not in ("auto", *self.implementations):
            raise UserError(
                f"optimizer {self.Config.kind} is not implemented in {implementation}: "
                f"--optimizer-implementation takes {' or '.join(('auto', *self.implementations))}"
            )

    def take_averages(self, averages: Averages) -> bool:
        """Update moving averages within the next ``step``, behind the weights.

        Returns:
            False if it cannot: they are the caller's to update, after the step.
        """
        return False

    def refresh(self) -> None:
        """Send rates and the momentums of taken averages to the device, which is not waited for.

        ``step`` does so itself, unless it is captured in a CUDA graph: then call this before each replay.
        """


def split_parameters(module: nn.Module) -> Groups:
    """Trainable parameters in two parts: weights (two dimensions or more), and norms and biases (the rest).

    Returns:
        for each part that is not empty ``{"params": [...], "norm_and_bias": bool}``. A part may be given
        ``lr_scale`` or ``weight_decay`` of its own, which then hold in place of the config's.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    weights = {"params": [p for p in trainable if p.ndim > 1], "norm_and_bias": False}
    rest = {"params": [p for p in trainable if p.ndim <= 1], "norm_and_bias": True}
    return [part for part in (weights, rest) if part["params"]]


def parameter_groups(parts: Sequence[dict[str, Any]], config: Optimizer.Config) -> Groups:
    """Optimizer groups: the parts of ``split_parameters`` with their ``weight_decay`` and ``lr_scale``."""
    settings = {
        False: {"weight_decay": config.weight_decay, "lr_scale": 1.0},
        True: {
            "weight_decay": 0.0 if config.exclude_norm_and_bias else config.weight_decay,
            "lr_scale": config.norm_and_bias_lr_scale,
        },
    }
    return [settings[part["norm_and_bias"]] | part for part in parts]


def build_optimizer(
    parts: Sequence[dict[str, Any]], config: Optimizer.Config, implementation: Implementation = "auto"
) -> Optimizer:
    """The optimizer of parameters that are on their device already, as ``split_parameters`` gives them.

    Raises:
        UserError: the optimizer is not implemented so, or not on this machine.
    """
    optimizer: Optimizer = config.component(config, parameter_groups(parts, config))
    optimizer.use(implementation)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group ``rate`` times its ``lr_scale``, 1 where it has none."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Rates to log: ``learning_rate``, and ``learning_rate_norm_and_bias`` if it differs."""
    names = {False: "learning_rate", True: "learning_rate_norm_and_bias"}
    rates = {names[group["norm_and_bias"]]: group["lr"] for group in reversed(optimizer.param_groups)}
    return {name: rate for name, rate in rates.items() if name == names[False] or rate != rates[names[False]]}
