"""SGD: stochastic gradient descent with momentum, torch's own or one with the teacher's average in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, ClassVar, Self

import torch

from fastssl.optim.multi_tensor import MultiTensorOptimizer
from fastssl.optim.optimizer import Groups, Implementation, Optimizer
from pipelines.command.errors import UserError
from pipelines.command.ranges import BelowOne


class SGD(MultiTensorOptimizer, torch.optim.SGD):
    """Stochastic gradient descent with momentum; on a GPU all tensors in one fused step.

    There, auto is torch's fused step (``implementation`` "fused"), and the kernels of triton in steps that
    update moving averages too or are captured in a CUDA graph, for which torch's would keep the rate.
    """

    implementations: ClassVar[tuple[Implementation, ...]] = (*MultiTensorOptimizer.implementations, "apex")

    @dataclass(frozen=True, kw_only=True)
    class Config(Optimizer.Config):
        """SGD. The defaults are Huang et al.'s (2022) on ImageNet."""

        momentum: BelowOne = 0.9
        """Share of the last step's update in this one's."""
        nesterov: bool = False
        """Nesterov's momentum (Sutskever et al., 2013)."""

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.nesterov and self.momentum == 0:
                raise UserError("optimizer nesterov needs a momentum above 0")

        def small(self) -> Self:
            """The same with the quickstart's rate and decay, for minutes on the built-in scenes."""
            warmup = min(0.4, self.warmup_epochs)
            return replace(self, base_lr=0.12, weight_decay=5e-4, warmup_epochs=warmup)

    def __init__(self, config: Config, groups: Groups) -> None:
        super().__init__(groups, lr=0.0, momentum=config.momentum, nesterov=config.nesterov)
        self.use("auto")

    def _set_up(self, implementation: str) -> None:
        super()._set_up(implementation)
        fused = self._chosen == "auto" and all(parameter.is_cuda for parameter in self._parameters())
        if fused:
            self.implementation, self._step_supports_amp_scaling = "fused", True
        # On a CPU the fused step is no faster, and wrong where a gradient's strides are not its parameter's.
        for group in (self.defaults, *self.param_groups):  # a loaded state may bring another machine's
            group.update(fused=fused, foreach=self.implementation == "foreach")
        self._apex = _apex(self) if implementation == "apex" else None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient. Closures are not taken."""
        if self._apex is not None:
            self._apex.step()
        elif self.implementation == "reference":
            self._reference_step()
        elif self.implementation == "triton" or (self._kernels is not None and self._needs_kernels()):
            self._kernel_step()
        else:
            if self.implementation == "fused":
                self._fill_momentum()
            super().step()

    def _needs_kernels(self) -> bool:
        return bool(self._momentums) or torch.cuda.is_current_stream_capturing()

    def _fill_momentum(self) -> None:
        """Start momentums at 0: torch's fused step leaves those of a skipped first step as memory was."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and group["momentum"] != 0:
                    self._momentum_buffer(parameter)


def _apex(optimizer: SGD) -> Any:
    """NVIDIA apex's FusedSGD, sharing groups and state with ``optimizer``.

    Raises:
        UserError: apex is not there, or was built without its CUDA extensions.
    """
    try:
        fused_sgd = import_module("apex.optimizers").FusedSGD
        defaults = optimizer.defaults
        fused = fused_sgd(
            optimizer.param_groups, lr=0.0, momentum=defaults["momentum"], nesterov=defaults["nesterov"]
        )
    except (ImportError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"--optimizer-implementation apex: no FusedSGD ({error}): git clone "
            f"https://github.com/NVIDIA/apex && cd apex && APEX_CPP_EXT=1 APEX_CUDA_EXT=1 pip install "
            f"--no-build-isolation . (PyPI's apex is something else)"
        ) from None
    fused.param_groups, fused.state = optimizer.param_groups, optimizer.state
    return fused
