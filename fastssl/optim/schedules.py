"""Schedules as functions of the step alone: resuming needs no state."""

from __future__ import annotations

import math

from fastssl.optim.optimizer import Optimizer


def learning_rate(
    step: int, config: Optimizer.Config, batch_size: int, steps_per_epoch: int, total_steps: int
) -> float:
    """The rate of ``step`` (from 0): a linear warm-up from 0, then cosine, steps or linear.

    The peak, ``base_lr`` x ``batch_size`` / 256, is met when the warm-up's ``warmup_epochs`` are over; a run
    that ends before never meets it. ``cosine`` is half a cosine from there to 0 at ``total_steps``, as in the
    public code of BYOL and of Huang et al., 2022. ``steps`` is the peak, divided by 10 at each of ``drops``.
    ``linear`` is a straight line from the peak to ``end_share`` of it at ``total_steps``, as in the public
    code of Newell and Deng, 2020.
    """
    peak = config.base_lr * batch_size / 256
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    if step < warmup_steps:
        return peak * step / warmup_steps
    if config.schedule == "steps":
        return peak * 0.1 ** sum(step >= round(drop * total_steps) for drop in config.drops)
    if config.schedule == "linear":
        return peak * (1 - (1 - config.end_share) * (step - warmup_steps) / (total_steps - warmup_steps))
    return peak * (math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps)) + 1) / 2


def teacher_momentum(step: int, *, total_steps: int, base: float, ascending: bool) -> float:
    """The weight m of the old teacher in its update after ``step`` (from 0).

    Ascending: m = 1 - (1 - base) (cos(pi step / total_steps) + 1) / 2, from base to 1 (BYOL, section 3.3);
    otherwise m = base.
    """
    if not ascending:
        return base
    return 1 - (1 - base) * (math.cos(math.pi * step / total_steps) + 1) / 2
