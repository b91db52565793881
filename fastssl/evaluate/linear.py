"""Linear evaluation: a linear classifier on the frozen encoder's features; the last epoch is what counts.

Two settings of Huang et al. (2022), section 3.2: ``sgd`` for encoders that were trained with SGD, ``lars``
for those trained with LARS (BYOL's). Peers report the best epoch on the test set, which is to choose on the
test set; it is not done here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fastssl.evaluate.protocol import Protocol
from fastssl.evaluate.subject import Subject
from pipelines.command.errors import UserError
from pipelines.command.progress import show_progress
from pipelines.ops import Flip, RandomResizedCrop
from pipelines.plan.order import permute

_CACHED_BELOW = 64  # pixels: small images are evaluated on cached features of the image and its mirror image
_LARGEST_TEST_BLOCK = 8192  # features classified at once


@dataclass(frozen=True, kw_only=True)
class LinearSetting:
    """Training settings of the classifier."""

    epochs: int
    """Passes over the training images."""
    batch_size: int
    """Images per step."""
    learning_rate: float
    """The first, at ``batch_size``."""
    nesterov: bool
    """Nesterov's momentum in place of the heavy ball; 0.9 either way."""
    drops: tuple[int, ...]
    """Epochs after which the rate is divided by 10; () is a cosine to 0."""

    def lasting(self, epochs: int) -> LinearSetting:
        """The same schedule over another number of epochs."""
        drops = tuple(round(drop * epochs / self.epochs) for drop in self.drops)
        return replace(self, epochs=epochs, drops=drops)

    def rate(self, step: int, steps_per_epoch: int, batch_size: int) -> float:
        """Learning rate of a step, scaled linearly to the batch size in use."""
        base = self.learning_rate * batch_size / self.batch_size
        if self.drops:
            return base * 0.1 ** sum(step // steps_per_epoch >= drop for drop in self.drops)
        return base * 0.5 * (1 + math.cos(math.pi * step / (self.epochs * steps_per_epoch)))


SETTINGS = {
    "sgd": LinearSetting(epochs=100, batch_size=256, learning_rate=30.0, nesterov=False, drops=(60, 80)),
    "lars": LinearSetting(epochs=80, batch_size=1024, learning_rate=0.8, nesterov=True, drops=()),
}


@dataclass(frozen=True, kw_only=True)
class Linear(Protocol):
    """A linear classifier on frozen features; the accuracy after the last epoch."""

    setting: Literal["auto", "sgd", "lars"] = "auto"
    """Schedule of the papers for encoders trained with SGD or LARS; auto: lars for those trained with LARS,
    sgd for all others."""
    augmentation: Literal["auto", "flip", "crop"] = "auto"
    """crop, or cached features of the image and its mirror image (flip); auto: flip below 64 pixels."""
    epochs: int = 0
    """0 keeps the setting's."""
    seed: int = 0
    """Random seed for initial weights, sample order and views."""

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise UserError(f"--epochs must not be negative, not {self.epochs}")

    def measure(self, subject: Subject) -> dict[str, Any]:
        """``top1`` of the test images, ``train_loss`` of the last epoch."""
        name = self.setting
        if name == "auto":
            name = "lars" if subject.optimizer == "lars" else "sgd"
        setting = SETTINGS[name].lasting(self.epochs) if self.epochs else SETTINGS[name]
        result = linear_top1(subject, setting, self.augmentation, self.seed)
        settings = {"setting": name, "augmentation": result["augmentation"], **asdict(setting)}
        return result | {"settings": settings}

    def report(self, subject: Subject, result: Mapping[str, Any]) -> str:
        """One line."""
        chosen = f"{result['settings']['setting']} setting, {result['augmentation']}"
        return f"linear top-1 {result['top1']:.3f} ({chosen}, {result['epochs']} epochs)"


def _cached_batches(
    subject: Subject, batch_size: int, epochs: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of features that were computed once, of each image and of its mirror image."""
    device = subject.feature_config.device
    upright, labels = subject.features("train")
    mirrored, _ = subject.features("train", mirrored=True)
    both = torch.stack([upright, mirrored]).to(device)
    labels = labels.to(device)
    for epoch in range(epochs):
        order = torch.from_numpy(permute(seed, epoch, len(labels), np.arange(len(labels))))
        side = torch.randint(
            2, (len(labels),), generator=torch.Generator().manual_seed(seed * epochs + epoch)
        )
        for start in range(0, len(labels) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size].to(device)
            yield both[side[chosen.cpu()].to(device), chosen], labels[chosen]


def _cropped_batches(
    subject: Subject, batch_size: int, epochs: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of features of freshly cropped and flipped views (random resized crop at its usual scale)."""
    spec = replace(subject.feature_config.spec, crop=RandomResizedCrop(), flip=Flip(p=0.5))
    yield from subject.batches(spec, batch_size=batch_size, epochs=epochs, seed=seed)


def linear_top1(
    subject: Subject,
    setting: LinearSetting,
    augmentation: Literal["auto", "flip", "crop"] = "auto",
    seed: int = 0,
) -> dict[str, Any]:
    """Train a linear classifier on frozen features and test it after the last epoch.

    Args:
        subject: encoder, images and the test view.
        setting: schedule; a data set smaller than its batch lowers the batch, and the rate with it.
        augmentation: ``crop`` is the papers' random resized crop and flip; ``flip`` trains on cached features
            of the central crop and its mirror image; ``auto`` is flip below 64 pixels and crop from there.
        seed: random seed for initial weights, sample order and views.

    Returns:
        ``top1`` of the test images and ``train_loss`` of the last epoch, with the settings used.
    """
    config, data = subject.feature_config, subject.data
    if augmentation == "auto":
        augmentation = "flip" if config.spec.size < _CACHED_BELOW else "crop"
    count = len(data.train.index)
    batch_size = min(setting.batch_size, count)
    steps_per_epoch = count // batch_size
    test, test_labels = subject.features("test")
    classifier = nn.Linear(test.shape[1], data.num_classes).to(config.device)
    nn.init.normal_(classifier.weight, std=0.01, generator=torch.Generator().manual_seed(seed))
    nn.init.zeros_(classifier.bias)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.0, momentum=0.9, nesterov=setting.nesterov)
    make_batches = _cached_batches if augmentation == "flip" else _cropped_batches
    batches = make_batches(subject, batch_size, setting.epochs, seed)
    last_losses: list[torch.Tensor] = []
    total = setting.epochs * steps_per_epoch
    for step, (features, labels) in enumerate(show_progress(batches, total, "linear: steps")):
        optimizer.param_groups[0]["lr"] = setting.rate(step, steps_per_epoch, batch_size)
        loss = functional.cross_entropy(classifier(features), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= total - steps_per_epoch:
            last_losses.append(loss.detach())
    correct = 0
    with torch.no_grad():
        for block, answers in zip(
            test.split(_LARGEST_TEST_BLOCK), test_labels.split(_LARGEST_TEST_BLOCK), strict=True
        ):
            correct += int((classifier(block.to(config.device)).argmax(1).cpu() == answers).sum())
    return {
        "top1": correct / len(test_labels),
        "train_loss": float(torch.stack(last_losses).mean()),
        "augmentation": augmentation,
        "batch_size": batch_size,
        "epochs": setting.epochs,
    }
