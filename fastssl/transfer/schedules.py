"""Learning rates of transfers as functions of the step alone: resuming needs no state."""

from __future__ import annotations

from collections.abc import Sequence


def warm_up(step: int, steps: int, start: float = 0.0) -> float:
    """Share of the peak in a linear warm-up of ``steps`` steps that begins at ``start``; 1 behind it."""
    return 1.0 if step >= steps else start + (1 - start) * step / steps


def dropped(step: int, total_steps: int, drops: Sequence[float]) -> float:
    """Share of the peak: a tenth of the one before from each of ``drops`` (shares of the training) on."""
    return float(0.1 ** sum(step >= round(drop * total_steps) for drop in drops))


def polynomial(step: int, total_steps: int, power: float = 0.9) -> float:
    """Share of the peak that falls to 0 at ``total_steps``, as ``(1 - step / total_steps) ** power``."""
    return float((1 - step / total_steps) ** power)


def straight(step: int, total_steps: int, warmup_steps: int, end_share: float) -> float:
    """Share of the peak: 0 to 1 in ``warmup_steps``, then straight to ``end_share`` at ``total_steps``."""
    if step < warmup_steps:
        return step / warmup_steps
    return 1 - (1 - end_share) * (step - warmup_steps) / max(1, total_steps - warmup_steps)
