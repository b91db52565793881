"""SGD: torch's stochastic gradient descent with momentum."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch

from fastssl.optim.optimizer import Groups, Optimizer
from pipelines.command.errors import UserError
from pipelines.command.ranges import BelowOne


class SGD(Optimizer, torch.optim.SGD):
    """Stochastic gradient descent with momentum; on a GPU all tensors in one fused step."""

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
        # On a CPU the fused step is no faster, and wrong where a gradient's strides are not its parameter's.
        fused = all(p.is_cuda for group in groups for p in group["params"])
        super().__init__(groups, lr=0.0, momentum=config.momentum, nesterov=config.nesterov, fused=fused)
