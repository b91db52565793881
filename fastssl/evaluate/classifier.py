"""A supervised run's own classifier on the test images: top-1 accuracy, on the run's groups of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from fastssl.classes.training_classes import class_numbers
from fastssl.evaluate.protocol import Protocol
from fastssl.evaluate.saved_run import saved_run
from fastssl.evaluate.subject import Subject
from fastssl.methods import Supervised
from pipelines.command.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Classifier(Protocol):
    """The classifier that a supervised run was trained with; nothing is trained."""

    def measure(self, subject: Subject) -> dict[str, Any]:
        """``top1`` of the test images whose classes the run has seen.

        Raises:
            UserError: the run has no classifier, or one of another number of classes.
        """
        run = saved_run(subject, "classifier", "classifier")
        path, experiment = run.path, run.experiment
        if not issubclass(experiment.method.component, Supervised):
            raise UserError(
                f"{path} was trained by {experiment.method.kind} and has no classifier: measure it by linear"
            )
        weight, bias = Supervised.classifier(run.method)
        names = subject.data.train.index.class_names
        groups = class_numbers(names, experiment.class_share, experiment.taxonomy, experiment.seed)
        count = int(groups.max()) + 1
        if count != len(weight):
            raise UserError(f"{subject.where} has {count} classes, the classifier of {path} {len(weight)}")
        features, labels = subject.features("test")
        answers = torch.from_numpy(groups)[labels]
        seen = answers >= 0
        found = functional.linear(features, weight, bias).argmax(1)
        return {
            "top1": float((found == answers)[seen].double().mean()),
            "settings": {"classes": count, "images": int(np.count_nonzero(seen))},
        }
