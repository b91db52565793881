"""Successive halving over paused trials: which one goes on, and when a new one is drawn.

Asynchronous successive halving (Li et al., 2020, "A system for massively parallel hyperparameter tuning",
algorithm 2): of the trials that have come to a rung, the best 1 / reduction may go on to the next, and
whoever is free takes the highest rung that offers one. Optuna's own pruners end a trial for good; here a
trial that does not go on is paused, and goes on later if it is among the best by then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Progress of the trials."""

    values: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """By trial: its value at each rung (from 0) that it has passed, larger is better; NaN where it
    diverged."""
    reached: Mapping[str, int] = field(default_factory=dict)
    """By trial: the highest rung that it has passed, failed on, or is on its way to."""
    under_way: int = 0
    """Trials that train, or are about to."""


def rungs(grace: int, reduction: int, epochs: float) -> tuple[float, ...]:
    """Epochs at which trials are compared: ``grace``, times ``reduction`` each, and the end of the run.

    ``grace`` 0 compares them at their end alone.
    """
    found: list[float] = []
    length = float(grace)
    while 0 < length < epochs:
        found.append(length)
        length *= reduction
    return (*found, epochs)


def promoted(standing: Standing, count: int, reduction: int, may_draw: bool) -> tuple[str, int] | None:
    """The paused trial that goes on, and the rung that it goes to; None where a new one is to be drawn.

    Where nothing is under way and none may be drawn any more, the best of the highest rung goes on even if
    the trials there are fewer than ``reduction``, so that one is trained to its end.

    Args:
        count: rungs.
        may_draw: there may be further trials.
    """
    for rung in reversed(range(count - 1)):
        passed = _passed(standing, rung)
        best = passed[: len(passed) // reduction]
        for trial in best:
            if standing.reached[trial] == rung and math.isfinite(standing.values[trial][rung]):
                return trial, rung + 1
    if may_draw or standing.under_way:
        return None
    for rung in reversed(range(count - 1)):
        if _passed(standing, rung + 1):
            return None
        for trial in _passed(standing, rung):
            if standing.reached[trial] == rung and math.isfinite(standing.values[trial][rung]):
                return trial, rung + 1
    return None


def _passed(standing: Standing, rung: int) -> list[str]:
    """Trials that have passed a rung, the best first; those that diverged come last."""
    values = {trial: passed[rung] for trial, passed in standing.values.items() if rung in passed}
    return sorted(values, key=lambda trial: (math.isnan(values[trial]), -values[trial], trial))


def best_trial(values: Mapping[str, Mapping[int, float]]) -> str | None:
    """The best trial at the highest rung that any has passed, by a standing's values; None before one has."""
    passed = [(rung, value, trial) for trial, own in values.items() for rung, value in own.items()]
    finite = [each for each in passed if math.isfinite(each[1])]
    if not finite:
        return None
    top = max(rung for rung, _, _ in finite)
    return min((-value, trial) for rung, value, trial in finite if rung == top)[1]
