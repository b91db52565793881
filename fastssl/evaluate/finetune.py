"""Fine-tuning on all labeled training images: the encoder moves as well, at a rate of its own.

Rates are those of the user's: no paper of the recipes states any for all labels. A rate of 0 for the encoder
with fixed batch norms is ``linear`` in crop mode: the same images in the same views and order, the same
features to the bit, and the same classifier to the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastssl.evaluate.augmentation import AugmentationChoice
from fastssl.evaluate.fine_tuning import fine_tuned_predictions
from fastssl.evaluate.fine_tuning_setting import DEFAULT_RATES, FineTuningSetting, OptimizerName
from fastssl.evaluate.protocol import Protocol
from fastssl.evaluate.resumable import resume_file
from fastssl.evaluate.subject import Subject
from pipelines.command.ranges import Count, CountOrZero, NotNegative, NotNegativeOrNone, PositiveOrNone, Share


@dataclass(frozen=True, kw_only=True)
class Finetune(Protocol):
    """All weights trained on the labels; the accuracy after the last epoch. Stopped, it resumes."""

    classifier_rate: PositiveOrNone = None
    """First learning rate of the classifier, at the batch size; a cosine to 0. None: 0.1 with sgd, 1 with
    lars, 0.001 with adamw."""
    encoder_rate: NotNegativeOrNone = None
    """First learning rate of the encoder's last layer; 0: its weights do not move. None: a tenth of the
    classifier's."""
    layer_decay: Share = 1.0
    """Rate of each layer of the encoder / rate of the one above it."""
    optimizer: OptimizerName = "sgd"
    """sgd with Nesterov's momentum; lars and adamw, which leave norms and biases undecayed."""
    weight_decay: NotNegative = 1e-4
    """Coefficient of the decay."""
    batch_size: Count = 256
    """Images per step; fewer images lower it, and the rates with it."""
    fixed_batch_norms: bool = False
    """Batch norms keep the statistics of pre-training."""
    augmentation: AugmentationChoice = "auto"
    """crop at random and flip, or flip alone; auto: flip below 64 pixels."""
    epochs: Count = 30
    """Passes over the training images."""
    seed: CountOrZero = 0
    """Random seed for the classifier's initial weights, sample order and views."""

    def measure(self, subject: Subject) -> dict[str, Any]:
        """``top1`` of the test images, ``train_loss`` of the last epoch."""
        setting, file = self.resolved_setting(), resume_file(self, subject)
        return fine_tuned_predictions(subject, setting, self.augmentation, self.seed, file)[1]

    def report(self, subject: Subject, result: Mapping[str, Any]) -> str:
        """One line."""
        settings = result["settings"]
        rates = f"rates {settings['classifier_rate']:g} and {settings['encoder_rate']:g}"
        how = f"{settings['optimizer']}, {rates}, {result['augmentation']}, {result['epochs']} epochs"
        return f"finetune top-1 {result['top1']:.3f} ({how})"

    def resolved_setting(self) -> FineTuningSetting:
        """The setting that the options stand for."""
        rate = DEFAULT_RATES[self.optimizer] if self.classifier_rate is None else self.classifier_rate
        return FineTuningSetting(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=rate,
            encoder_rate=rate / 10 if self.encoder_rate is None else self.encoder_rate,
            nesterov=self.optimizer == "sgd",
            drops=(),
            weight_decay=self.weight_decay,
            optimizer=self.optimizer,
            layer_decay=self.layer_decay,
            fixed_batch_norms=self.fixed_batch_norms,
        )
