"""Utility of pre-training: labels that it saves, from accuracies over the number of labels.

Newell, Deng, "How useful is self-supervised pretraining for visual tasks?" (2020): U(n) = n_hat / n - 1 where
n_hat is the number of labels with which training from scratch reaches the accuracy of the pre-trained encoder
with n. U = 1 saves as many labels as there are; at U = 0 pre-training is of no use, below it harms.

n_hat is the smallest number of labels at which the scratch curve reaches that accuracy, with the curve linear
in log n between its points: label counts grow by factors, accuracies over them are nearly straight.
So a curve that falls between two of its points counts by its best so far, and of a flat piece the left end.
Beyond the curve there are bounds: an accuracy that no number of labels reaches is worth more labels than the
last (a lower bound of U), one below the first point is worth fewer than the first (an upper bound).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from launchers.reporting.chart import Bound, Point, mean_point

AccuracyCurve = Mapping[int, float]
"""Accuracy by number of labels."""


@dataclass(frozen=True, kw_only=True)
class Bounded:
    """A number, or a bound of one."""

    value: float
    bound: Bound = ""


def scratch_labels(accuracy: float, scratch: AccuracyCurve) -> Bounded:
    """Number of labels with which training from scratch reaches an accuracy.

    Args:
        accuracy: higher is better.
        scratch: accuracies of training from scratch, at least one.
    """
    points = sorted(scratch.items())
    labels, reached = points[0]
    if accuracy < reached:
        return Bounded(value=labels, bound="upper")
    for (left, low), (right, high) in zip([points[0], *points], points, strict=False):
        if high >= accuracy:
            share = (accuracy - low) / (high - low) if high > low else 1.0
            return Bounded(value=left * (right / left) ** share)
    return Bounded(value=points[-1][0], bound="lower")


def utility(labels: int, accuracy: float, scratch: AccuracyCurve) -> Bounded:
    """U(n) of an encoder that reaches ``accuracy`` with n = ``labels`` labels."""
    found = scratch_labels(accuracy, scratch)
    return Bounded(value=found.value / labels - 1, bound=found.bound)


def utility_curve(
    pretrained: Mapping[int, AccuracyCurve], scratch: Mapping[int, AccuracyCurve]
) -> list[Point]:
    """Mean utility over the number of labels, each seed against the scratch curve of the same seed.

    Seeds without a scratch curve are left out. A mean of which one seed has a bound is a bound. Where one has
    a lower bound and another an upper one, it would bound nothing: that number of labels is left out.
    """
    at: dict[int, list[Bounded]] = {}
    for seed, curve in pretrained.items():
        for labels, accuracy in curve.items():
            if scratch.get(seed):
                at.setdefault(labels, []).append(utility(labels, accuracy, scratch[seed]))
    points = [_mean(labels, found) for labels, found in sorted(at.items())]
    return [point for point in points if point is not None]


def _mean(labels: int, found: Sequence[Bounded]) -> Point | None:
    bounds: set[Bound] = {each.bound for each in found if each.bound}
    if len(bounds) > 1:
        return None
    point = mean_point(labels, [each.value for each in found])
    return replace(point, low=max(point.low, -1.0), bound=next(iter(bounds), ""))
