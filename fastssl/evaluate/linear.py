"""Linear evaluation: a linear classifier on the frozen encoder's features; the last epoch is what counts.

Two settings of Huang et al. (2022), section 3.2: ``sgd`` for encoders that were trained with SGD, ``lars``
for those trained with LARS (BYOL's). Peers report the best epoch on the test set, which is to choose on the
test set; it is not done here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fastssl.distributed.precision import AUTOCAST
from fastssl.evaluate.data import LabelledData
from fastssl.evaluate.features import Extraction, encoder_features, open_views
from pipelines.command.progress import show_progress
from pipelines.ops import Flip, RandomResizedCrop
from pipelines.plan.order import permute
from pipelines.plan.plan import Plan

_CACHED_BELOW = 64  # pixels: small images are evaluated on cached features of the image and its mirror image
_LARGEST_TEST_BLOCK = 8192  # features classified at once


@dataclass(frozen=True, kw_only=True)
class LinearSetting:
    """How the classifier is trained. ``learning_rate`` is that of ``batch_size``."""

    epochs: int
    batch_size: int
    learning_rate: float
    nesterov: bool
    drops: tuple[int, ...]  # epochs after which the rate is divided by 10; () is a cosine to 0

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


def _cached_batches(
    encoder: nn.Module, data: LabelledData, how: Extraction, batch_size: int, epochs: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of features that were computed once, of each image and of its mirror image."""
    upright, labels = encoder_features(encoder, data.bank, how, "linear: features")
    mirrored_how = replace(how, spec=replace(how.spec, flip=Flip(p=1.0)))
    mirrored, _ = encoder_features(encoder, data.bank, mirrored_how, "linear: mirrored features")
    both = torch.stack([upright, mirrored]).to(how.device)
    labels = labels.to(how.device)
    for epoch in range(epochs):
        order = torch.from_numpy(permute(seed, epoch, len(labels), np.arange(len(labels))))
        side = torch.randint(
            2, (len(labels),), generator=torch.Generator().manual_seed(seed * epochs + epoch)
        )
        for start in range(0, len(labels) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size].to(how.device)
            yield both[side[chosen.cpu()].to(how.device), chosen], labels[chosen]


def _cropped_batches(
    encoder: nn.Module, data: LabelledData, how: Extraction, batch_size: int, epochs: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of features of freshly cropped and flipped views (random resized crop at its usual scale)."""
    spec = replace(how.spec, crop=RandomResizedCrop(), flip=Flip(p=0.5))
    count = len(data.bank.index)
    steps = count // batch_size
    plan = Plan(count=count, batch_size=batch_size, batches_per_epoch=steps, seed=seed)
    dtype = AUTOCAST[how.precision]
    with open_views(data.bank, spec, how, plan, epochs * steps) as loader:
        for batch in loader:
            with torch.no_grad(), torch.autocast(how.device.type, dtype, enabled=dtype is not None):
                features = encoder(batch.views[0]).float()
            assert batch.labels is not None
            yield features, batch.labels


def linear_top1(
    encoder: nn.Module,
    data: LabelledData,
    how: Extraction,
    setting: LinearSetting,
    augmentation: Literal["auto", "flip", "crop"] = "auto",
    seed: int = 0,
) -> dict[str, object]:
    """Train a linear classifier on frozen features and test it after the last epoch.

    Args:
        encoder: [B, 3, S, S] to [B, D], in evaluation mode.
        data: training and test images.
        how: the test view, device and precision.
        setting: schedule; a data set smaller than its batch lowers the batch, and the rate with it.
        augmentation: ``crop`` is the papers' random resized crop and flip; ``flip`` trains on cached features
            of the central crop and its mirror image; ``auto`` is flip below 64 pixels and crop from there.
        seed: of the order and the views.

    Returns:
        ``top1`` of the test images and ``train_loss`` of the last epoch, with the settings used.
    """
    if augmentation == "auto":
        augmentation = "flip" if how.spec.size < _CACHED_BELOW else "crop"
    count = len(data.bank.index)
    batch_size = min(setting.batch_size, count)
    steps_per_epoch = count // batch_size
    test, test_labels = encoder_features(encoder, data.queries, how, "linear: test features")
    classifier = nn.Linear(test.shape[1], data.num_classes).to(how.device)
    nn.init.normal_(classifier.weight, std=0.01, generator=torch.Generator().manual_seed(seed))
    nn.init.zeros_(classifier.bias)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.0, momentum=0.9, nesterov=setting.nesterov)
    make_batches = _cached_batches if augmentation == "flip" else _cropped_batches
    batches = make_batches(encoder, data, how, batch_size, setting.epochs, seed)
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
            correct += int((classifier(block.to(how.device)).argmax(1).cpu() == answers).sum())
    return {
        "top1": correct / len(test_labels),
        "train_loss": float(torch.stack(last_losses).mean()),
        "augmentation": augmentation,
        "batch_size": batch_size,
        "epochs": setting.epochs,
    }
