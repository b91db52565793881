"""Logistic regression on frozen features: scikit-learn's, its penalty chosen on held-out training images.

Kornblith, Shlens, Le, "Do better ImageNet models transfer better?" (2019), appendix A.6: multinomial, L-BFGS,
the L2 penalty swept over on held-out training images, then trained anew on all of them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from fastssl.evaluate.protocol import Protocol
from fastssl.evaluate.subject import Split, Subject
from pipelines.command.errors import UserError
from pipelines.command.ranges import Count, CountOrZero, Positives, WithinOne
from pipelines.plan.order import keyed_sample


@dataclass(frozen=True, kw_only=True)
class Logistic(Protocol):
    """Multinomial logistic regression (L-BFGS) on standardized features."""

    c: Positives = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    """Inverse strengths of the L2 penalty to choose from (scikit-learn's C)."""
    held_out: WithinOne = 0.2
    """Share of the training images that chooses among them."""
    max_iterations: Count = 1000
    """Iteration limit of L-BFGS."""
    seed: CountOrZero = 0
    """Random seed for the choice of held-out images."""

    def measure(self, subject: Subject) -> dict[str, Any]:
        """``top1`` of the test images; ``train_held_out_top1`` of each C; the C that was chosen."""
        splits: tuple[Split, ...] = ("train", "test")
        train, test = ([part.numpy() for part in subject.features(split)] for split in splits)
        if len(np.unique(train[1])) < 2:
            raise UserError("logistic: the training images have one class, and this needs two: give others")
        chosen, scores = self.c[0], {}
        if len(self.c) > 1:
            scores = self._search(*train)
            chosen = max(scores, key=lambda c: (scores[c], -c))  # of equals the strongest penalty
        model = self._fit(chosen, *train)
        iterations = int(model[-1].n_iter_.max())
        return {
            "top1": float(model.score(*test)),
            "train_held_out_top1": {f"{c:g}": score for c, score in scores.items()},
            "settings": {
                "chosen_c": chosen,
                "iterations": iterations,
                "converged": iterations < self.max_iterations,
            },
        }

    def _search(self, features: np.ndarray, labels: np.ndarray) -> dict[float, float]:
        """Accuracy on the held-out training images for each C."""
        count = len(labels)
        order = keyed_sample("logistic", count, count, seed=self.seed)
        held, rest = np.split(order, [round(self.held_out * count)])
        if not len(held) or len(np.unique(labels[rest])) < 2:
            raise UserError(
                f"logistic: {count} training images are too few to hold some out: give --c one value"
            )
        return {
            c: float(self._fit(c, features[rest], labels[rest]).score(features[held], labels[held]))
            for c in self.c
        }

    def _fit(self, c: float, features: np.ndarray, labels: np.ndarray) -> Pipeline:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=self.max_iterations))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the result says whether it converged
            return model.fit(features, labels)
