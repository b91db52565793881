"""Fine-tuning: an encoder and a new linear classifier, trained together on labeled images.

The core of every protocol that moves the encoder. Its steps are those of pre-training (``TrainStep``), on
freshly drawn views; it is resumed where it was stopped, as if it had not been.
"""

from __future__ import annotations

import copy
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from fastssl.distributed.precision import AUTOCAST
from fastssl.evaluate.augmentation import AugmentationChoice, augmented, choose_augmentation
from fastssl.evaluate.features import extract, open_views, require_finite
from fastssl.evaluate.fine_tuning_setting import FineTuningSetting, build_optimizer
from fastssl.evaluate.linear_classifiers import initial_weight
from fastssl.evaluate.resumable import Resumable, training_facts
from fastssl.evaluate.subject import Subject
from fastssl.evaluate.training import Trained, train_to_end
from fastssl.methods.method import autocast_off
from fastssl.models.backbone import Backbone
from fastssl.optim.train_step import TrainStep
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.plan.plan import Plan


class EncoderWithClassifier(Trained):
    """A copy of an encoder with a linear classifier; its loss is the mean cross entropy.

    The classifier is computed in float32.

    Args:
        encoder: [B, 3, S, S] to [B, D]; left as it is.
        weight: of the classifier, float32 [C, D]; its bias starts at 0.
        fixed_batch_norms: batch norms keep their statistics, in training too.
    """

    def __init__(self, encoder: nn.Module, weight: Tensor, fixed_batch_norms: bool) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(True)
        self.classifier = nn.Linear(weight.shape[1], weight.shape[0])
        self._fixed_batch_norms = fixed_batch_norms
        with torch.no_grad():
            self.classifier.weight.copy_(weight)
            self.classifier.bias.zero_()

    def train(self, mode: bool = True) -> EncoderWithClassifier:
        """Same as torch's, but batch norms that are fixed stay in evaluation mode."""
        super().train(mode)
        if self._fixed_batch_norms:
            for part in self.modules():
                if isinstance(part, _BatchNorm):
                    part.eval()
        return self

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cross entropy over the batch, 0-dim, and the same detached, by name."""
        assert batch.labels is not None
        features = self.encoder(batch.views[0]).float()
        with autocast_off(features):
            loss = functional.cross_entropy(self.classifier(features), batch.labels)
        return loss, {"loss": loss.detach()}


def fine_tuned_predictions(
    subject: Subject,
    setting: FineTuningSetting,
    augmentation: AugmentationChoice,
    seed: int,
    resume_file: Path | None,
) -> tuple[Tensor, dict[str, Any]]:
    """Fine-tune a copy of a subject's encoder on its training images, and classify its test images.

    Arguments as of ``linear_predictions``, but that ``flip`` mirrors the test view half the time.

    Returns:
        classes of the test images, int64 [M]; and the result: ``top1``, ``train_loss`` of the last epoch, and
        the settings used.

    Raises:
        UserError: the weights are not finite, before or in training.
    """
    network, result = fine_tune(subject, setting, augmentation, seed, resume_file)
    features, labels = extract(
        network.encoder, subject.data.test, subject.feature_config, "fine-tuned features: test images"
    )
    with torch.inference_mode():
        predicted = network.classifier.cpu()(features).argmax(1)
    return predicted, {"top1": int((predicted == labels).sum()) / len(labels), **result}


def fine_tune(
    subject: Subject,
    setting: FineTuningSetting,
    augmentation: AugmentationChoice,
    seed: int,
    resume_file: Path | None,
) -> tuple[EncoderWithClassifier, dict[str, Any]]:
    """The trained network of ``fine_tuned_predictions``, and its result but for the accuracy."""
    config, train = subject.feature_config, subject.data.train
    for value in subject.encoder.state_dict().values():
        require_finite(value, f"weights of {subject.run or 'the encoder'}")
    augmentation = choose_augmentation(augmentation, config.spec)
    count = len(train.index)
    batch_size = min(setting.batch_size, count)
    steps = count // batch_size
    network = _network(subject, setting, seed)
    optimizer = build_optimizer(network.encoder, network.classifier, setting)
    autocast = AUTOCAST[config.precision]
    train_step = TrainStep(network, optimizer, device=config.device, autocast=autocast, seed=seed)
    plan = Plan(count=count, batch_size=batch_size, batches_per_epoch=steps, seed=seed)
    views = replace(config, spec=augmented(config.spec, augmentation))

    def batches(start: int) -> Generator[Batch]:
        with open_views(train, views, plan, setting.epochs * steps, start=start) as loader:
            yield from loader

    def check(step: int) -> None:
        if not all(bool(parameter.isfinite().all()) for parameter in network.parameters()):
            raise UserError(f"fine-tuning diverged before step {step}: lower its learning rates")

    with Resumable(resume_file, training_facts(subject, views, setting, seed)) as resumable:
        loss = train_to_end(
            network,
            train_step,
            batches,
            setting,
            resumable,
            images=count,
            entry="network",
            doing="fine-tuning: steps",
            check=check,
        )
    return network, {
        "train_loss": float(loss),
        "augmentation": augmentation,
        "batch_size": batch_size,
        "epochs": setting.epochs,
        "settings": setting.resolved() | {"augmentation": augmentation},
    }


def _network(subject: Subject, setting: FineTuningSetting, seed: int) -> EncoderWithClassifier:
    """The network before its first step, on the device; an encoder that does not move has no gradients."""
    dim = cast(Backbone, subject.encoder).feature_dim
    weight = initial_weight(subject.data.num_classes, dim, seed)
    network = EncoderWithClassifier(subject.encoder, weight, setting.fixed_batch_norms)
    network.encoder.requires_grad_(setting.encoder_rate > 0)
    device = subject.feature_config.device
    return network.to(device).to(memory_format=torch.channels_last).train()
