"""The teacher (target, momentum encoder): an exponential moving average of the student's parameters."""

from __future__ import annotations

import copy

import torch
from torch import nn


def make_teacher(student: nn.Sequential) -> nn.Sequential:
    """A copy of ``student`` that starts equal to it and takes no gradients."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * student, in place, parameter by parameter.

    Buffers are left alone: the teacher's batch norms run in train mode and keep their own statistics.

    Args:
        teacher: its parameters.
        student: has a parameter of the same name for each of the teacher's; it may have more (a predictor).
        momentum: in [0, 1].
    """
    sources = dict(student.named_parameters())
    names, targets = zip(*teacher.named_parameters(), strict=True)
    torch._foreach_lerp_(targets, [sources[name] for name in names], 1 - momentum)
