"""Titles of the papers that several families of recipes reproduce, and the metric that they report."""

from __future__ import annotations

from fastssl.config import Results

EQCO = "EqCo: equivalent rules for self-supervised contrastive learning (2020)"
REVISITED = "Revisiting the critical factors of augmentation-invariant representation learning (2022)"
LINEAR_TOP1 = "linear top-1"


def linear_top1(number: float | None) -> Results:
    """Top-1 accuracy of a linear classifier, a fraction; None: the paper states none."""
    return () if number is None else ((LINEAR_TOP1, number),)
