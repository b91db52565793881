"""Classification with a long-tailed part of the training images, such as CIFAR-10-LT and CIFAR-100-LT.

Figure of transfer in Huang et al. (2022), who state neither factor nor training settings. Groups of classes
are those of Liu et al., "Large-scale long-tailed recognition in an open world" (2019): many-shot classes have
more than 100 training images, few-shot ones fewer than 20.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from torch import Tensor
from tyro.conf import arg

from fastssl.evaluate.class_draw import draw_per_class, long_tailed_counts
from fastssl.evaluate.fine_tuning import fine_tuned_predictions
from fastssl.evaluate.finetune import Finetune
from fastssl.evaluate.linear import Linear
from fastssl.evaluate.resumable import resume_file
from fastssl.evaluate.subject import Subject
from pipelines.command.errors import UserError
from pipelines.command.ranges import NotNegativeOrNone, PositiveOrNone, Range

_MANY, _FEW = 100, 20  # training images of a class
_FROM_ONE = Range(at_least=1)


@dataclass(frozen=True, kw_only=True)
class Longtail(Linear):
    """A classifier of a long-tailed part of the training images: ``linear``'s, or fine-tuned."""

    factor: Annotated[float, _FROM_ONE, arg(help_behavior_hint=_FROM_ONE.shown)] = 100.0
    """Training images of the first class per one of the last; in between they fall exponentially. 100, 50 and
    10 are usual."""
    encoder: Literal["frozen", "tuned"] = "frozen"
    """frozen: linear's classifier and settings; tuned: finetune's, where --setting has no say."""
    classifier_rate: PositiveOrNone = None
    """First learning rate of the classifier, with --encoder tuned; None: finetune's."""
    encoder_rate: NotNegativeOrNone = None
    """First learning rate of the encoder, with --encoder tuned; None: finetune's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rates = {"classifier-rate": self.classifier_rate, "encoder-rate": self.encoder_rate}
        given = [name for name, rate in rates.items() if rate is not None]
        if given and self.encoder == "frozen":
            raise UserError(f"--{given[0]} is of a fine-tuned encoder: add --encoder tuned, or leave it out")
        if self.setting != "auto" and self.encoder == "tuned":
            raise UserError(f"--setting {self.setting} is of a frozen encoder: leave it out")

    def measure(self, subject: Subject) -> dict[str, Any]:
        """``top1`` of the test images; ``many``, ``medium``, ``few``: means of their classes' accuracies.

        A group without a class is left out. ``per_class`` has each class's accuracy and training images.
        """
        index = subject.data.train.index
        assert index.labels is not None
        sizes = np.bincount(index.labels, minlength=len(index.class_names))
        if not sizes.min():
            raise UserError(f"longtail: class {index.class_names[sizes.argmin()]} has no training images")
        counts = long_tailed_counts(sizes, self.factor)
        indices = draw_per_class(index.labels, counts, "longtail", self.seed)
        part = subject.on_part(indices)
        train = self._tune if self.encoder == "tuned" else self._train
        predicted, result = train(part, resume_file(self, subject))
        accuracies = _accuracies(predicted, subject.features("test")[1], len(counts))
        groups = {"many": counts > _MANY, "few": counts < _FEW}
        groups["medium"] = ~groups["many"] & ~groups["few"]
        there = ~np.isnan(accuracies)
        return {
            "top1": result["top1"],
            **{
                name: float(accuracies[groups[name] & there].mean())
                for name in ("many", "medium", "few")
                if (groups[name] & there).any()
            },
            **result,
            "per_class": {
                index.class_names[label]: {"accuracy": float(accuracies[label]), "images": int(counts[label])}
                for label in np.flatnonzero(there)
            },
            "settings": {**result["settings"], "images": len(indices)},
        }

    def _tune(self, part: Subject, file: Path | None) -> tuple[Tensor, dict[str, Any]]:
        """Predicted classes of the test images, and the result, as ``Linear._train`` gives them."""
        rates = Finetune(classifier_rate=self.classifier_rate, encoder_rate=self.encoder_rate)
        setting = rates.resolved_setting().lasting(self.epochs)
        return fine_tuned_predictions(part, setting, self.augmentation, self.seed, file)

    def report(self, subject: Subject, result: Mapping[str, Any]) -> str:
        """One line: accuracies of all test images and of the groups of classes."""
        groups = "".join(
            f", {name} {result[name]:.3f}" for name in ("many", "medium", "few") if name in result
        )
        images = result["settings"]["images"]
        how = f"{images} training images, encoder {self.encoder}"
        return f"longtail top-1 {result['top1']:.3f}{groups} ({how})"


def _accuracies(predicted: Tensor, labels: Tensor, num_classes: int) -> np.ndarray:
    """Share of each class's images that are given it, float64 [C]; NaN of a class without images."""
    answers = labels.numpy()
    sizes = np.bincount(answers, minlength=num_classes)
    right = np.bincount(answers[predicted.numpy() == answers], minlength=num_classes)
    return np.where(sizes > 0, right / np.maximum(sizes, 1), np.nan)
