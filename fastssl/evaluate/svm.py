"""Linear support vector machines on frozen features, one per class, as on PASCAL VOC2007.

Goyal, Mahajan, Gupta, Misra, "Scaling and benchmarking self-supervised visual representation learning"
(2019), with the values of its public code (VISSL): the whole image squeezed to a square, features at unit
length, LIBLINEAR's squared hinge loss with the L2 penalty in the dual, positives at twice the weight of
negatives, 2000 iterations; each class's cost is the one of 11 with the best average precision over 3 folds of
the training images. An image whose objects of a class are all difficult is a negative of it in training, and
is left out of the test.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC
from torch.nn import functional

from fastssl.evaluate.protocol import Protocol
from fastssl.evaluate.subject import Split, Subject
from fastssl.metrics.average_precision import average_precision_11_points, average_precision_interpolated
from pipelines.command.errors import UserError
from pipelines.command.progress import show_progress
from pipelines.command.ranges import Count, Positives
from pipelines.ops import WholeImage

_FOLDS = 3


@dataclass(frozen=True, kw_only=True)
class Svm(Protocol):
    """One linear SVM per class against the rest (squared hinge loss); mean average precision."""

    several_classes: ClassVar[bool] = True

    costs: Positives = (0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 1000.0)
    """Costs (LIBLINEAR's C) to choose from for each class, by average precision over 3 folds."""
    max_iterations: Count = 2000
    """Iteration limit of LIBLINEAR."""
    crop: Literal["auto", "center", "whole"] = "auto"
    """center: the central crop of all evaluations; whole: the whole image, squeezed to a square, as VISSL has
    it. auto: whole where images have several classes."""

    def measure(self, subject: Subject) -> dict[str, Any]:
        """``map``, ``map_interpolated`` (VISSL's) and ``map_11_points`` over the classes, in [0, 1].

        ``per_class`` has the same of each class, and its cost.

        Raises:
            UserError: features are not finite, or a class has too few training images for the folds.
        """
        crop = self.crop
        if crop == "auto":
            crop = "whole" if subject.data.train.index.objects is not None else "center"
        if crop == "whole":
            config = subject.feature_config
            spec = replace(config.spec, crop=WholeImage())
            subject = replace(subject, feature_config=replace(config, spec=spec))
        train, present = _features_and_classes(subject, "train")
        test, expected = _features_and_classes(subject, "test")
        names = subject.data.train.index.class_names
        classes = np.flatnonzero((present == 1).any(0) & (expected == 1).any(0)).tolist()
        if not classes:
            raise UserError("svm: no class has objects that count in training and test images: give others")
        found: dict[str, dict[str, float]] = {}
        converged = True
        for label in show_progress(classes, len(classes), "svm: classes"):
            positive = present[:, label] == 1
            least = min(np.count_nonzero(positive), np.count_nonzero(~positive))
            if len(self.costs) > 1 and least < _FOLDS:
                raise UserError(
                    f"svm: class {names[label]} or the rest has {least} training images, too few for "
                    f"{_FOLDS} folds: give more, or --costs one value"
                )
            cost = self._choose_cost(train, positive)
            model = self._fit(cost, train, positive)
            converged &= model.n_iter_ < self.max_iterations
            counts = expected[:, label] >= 0
            scores, answers = model.decision_function(test[counts]), expected[counts, label] == 1
            found[names[label]] = {
                "average_precision": float(average_precision_score(answers, scores)),
                "average_precision_interpolated": average_precision_interpolated(answers, scores),
                "average_precision_11_points": average_precision_11_points(answers, scores),
                "cost": cost,
            }
        settings = {"crop": crop, "view": asdict(subject.feature_config.spec)}
        return {
            "map": _mean(found, "average_precision"),
            "map_interpolated": _mean(found, "average_precision_interpolated"),
            "map_11_points": _mean(found, "average_precision_11_points"),
            "per_class": found,
            "settings": {"classes": len(found), "converged": bool(converged), **settings},
        }

    def _choose_cost(self, features: np.ndarray, positive: np.ndarray) -> float:
        """The cost of the best mean average precision over the folds; of equals the smallest."""
        if len(self.costs) == 1:
            return self.costs[0]
        folds = list(StratifiedKFold(_FOLDS).split(features, positive))
        scores = {}
        for cost in self.costs:
            models = [self._fit(cost, features[rest], positive[rest]) for rest, _ in folds]
            scores[cost] = np.mean(
                [
                    average_precision_score(positive[held], model.decision_function(features[held]))
                    for model, (_, held) in zip(models, folds, strict=True)
                ]
            )
        return max(self.costs, key=lambda cost: (scores[cost], -cost))

    def _fit(self, cost: float, features: np.ndarray, positive: np.ndarray) -> LinearSVC:
        model = LinearSVC(
            C=cost,
            penalty="l2",
            loss="squared_hinge",
            dual=True,
            tol=1e-4,
            class_weight={True: 2.0, False: 1.0},
            max_iter=self.max_iterations,
            random_state=0,  # of LIBLINEAR's order of coordinates
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the result says whether it converged
            return model.fit(features, positive)


def _features_and_classes(subject: Subject, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Features at unit length, float32 [N, D], and ``Objects.presence``, int8 [N, C]."""
    index = (subject.data.train if split == "train" else subject.data.test).index
    features, labels = subject.features(split)
    unit = functional.normalize(features, dim=1).numpy()
    if index.objects is not None:
        return unit, index.objects.presence(len(index.class_names))
    return unit, functional.one_hot(labels, len(index.class_names)).to(torch.int8).numpy()


def _mean(found: Mapping[str, Mapping[str, float]], name: str) -> float:
    return float(np.mean([values[name] for values in found.values()]))
