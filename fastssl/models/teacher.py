"""The teacher (target, momentum encoder): an exponential moving average of the student's parameters."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import nn

from pipelines.command.ranges import ZeroToOne, check_ranges


class Teacher(nn.Sequential):
    """A moving average of a student; made by ``Teacher.of``."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Schedule of the moving average. The defaults are those of Huang et al., 2022."""

        momentum: ZeroToOne = 0.99
        """Weight of the old teacher in its update."""
        ascending: bool = True
        """The momentum rises to 1 at the end of the run, along half a cosine."""
        shuffling_bn: bool = False
        """The teacher sees the images in another order, for batch norms in groups (MoCo v1 and v2)."""

        def __post_init__(self) -> None:
            check_ranges(self, "--method.teacher.")

        def small(self) -> Self:
            """The same teacher for a short run, which it must follow quickly."""
            return replace(self, momentum=min(0.9, self.momentum))

    @classmethod
    def of(cls, student: nn.Sequential) -> Teacher:
        """A copy of a student, or of its first parts, that starts equal to it and takes no gradients."""
        return cls(OrderedDict(copy.deepcopy(student).named_children())).requires_grad_(False)


@torch.no_grad()
def update_averages(averages: Iterable[tuple[nn.Module, nn.Module, float]]) -> None:
    """target <- momentum * target + (1 - momentum) * source, in place, parameter by parameter.

    Buffers are left alone: a teacher's batch norms run in train mode and keep their own statistics.

    Args:
        averages: (target, source, momentum) of each. The source has a parameter of the same name for each of
            the target's; it may have more (a predictor). The momentum lies in [0, 1].
    """
    for target, source, momentum in averages:
        targets, sources = zip(*paired_parameters(target, source), strict=True)
        torch._foreach_lerp_(targets, sources, 1 - momentum)


def paired_parameters(target: nn.Module, source: nn.Module) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """Each parameter of the target, with the source's of the same name."""
    sources = dict(source.named_parameters())
    return [(parameter, sources[name]) for name, parameter in target.named_parameters()]
