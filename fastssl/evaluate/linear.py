"""Linear evaluation: a linear classifier on the frozen encoder's features; the last epoch is what counts.

Peers report the best epoch on the test set, which is to choose on the test set; it is not done here. Where no
paper states a rate for the features at hand, several are trained at once on one pass over the features and
one is chosen on held-out training images. Each rate has two classifiers: one that does not learn from the
held-out images and is scored on them, and one that learns from all and is tested if its rate is chosen.
Stopped, it resumes, as if it had not been.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fastssl.evaluate.augmentation import AugmentationChoice, augmented, choose_augmentation
from fastssl.evaluate.features import encode, open_views
from fastssl.evaluate.linear_classifiers import FeatureBatch, LinearClassifiers, SGDAtRates
from fastssl.evaluate.linear_setting import SETTINGS, LinearSetting, choose_setting
from fastssl.evaluate.protocol import Protocol
from fastssl.evaluate.resumable import Resumable, resume_file, training_facts
from fastssl.evaluate.subject import Subject
from fastssl.evaluate.training import train_to_end
from fastssl.optim.train_step import TrainStep
from pipelines.command.ranges import CountOrZero
from pipelines.plan.order import keyed_sample, permute
from pipelines.plan.plan import Plan

_TRY_SEARCH = "the learning rate does not suit these features; try --setting search"
_HELD_OUT = 0.2  # share of the training images that chooses among rates


@dataclass(frozen=True, kw_only=True)
class Linear(Protocol):
    """A linear classifier on frozen features; the accuracy after the last epoch."""

    setting: Literal["auto", "sgd", "lars", "simclr", "inat18", "places205", "search"] = "auto"
    """Papers' schedules for encoders trained with SGD, LARS or as SimCLR, and for iNaturalist 2018 and
    Places205; search: standardized features and the rate that is best on held-out training images. auto: sgd,
    lars or simclr for the papers' recipes at ImageNet's scale, search elsewhere."""
    augmentation: AugmentationChoice = "auto"
    """crop, or cached features of the image and its mirror image (flip); auto: flip below 64 pixels."""
    epochs: CountOrZero = 0
    """0 keeps the setting's."""
    seed: CountOrZero = 0
    """Random seed for initial weights, sample order, views and held-out images."""

    def measure(self, subject: Subject) -> dict[str, Any]:
        """``top1`` of the test images, ``train_loss`` of the last epoch; see ``linear_predictions``."""
        return self._train(subject, resume_file(self, subject))[1]

    def _train(self, subject: Subject, file: Path | None) -> tuple[Tensor, dict[str, Any]]:
        """Predicted classes of the test images, and the result of ``measure``."""
        name = choose_setting(subject) if self.setting == "auto" else self.setting
        setting = SETTINGS[name].lasting(self.epochs)
        predicted, result = linear_predictions(subject, setting, self.augmentation, self.seed, file)
        return predicted, result | {"settings": {"setting": name, **result["settings"]}}

    def report(self, subject: Subject, result: Mapping[str, Any]) -> str:
        """One line, and a warning where the classifier ended worse than ignorance."""
        settings = result["settings"]
        rate = f", rate {settings['learning_rate']:g}" if settings["candidates"] else ""
        chosen = f"{settings['setting']} setting{rate}, {result['augmentation']}, {result['epochs']} epochs"
        line = f"linear top-1 {result['top1']:.3f} ({chosen})"
        ignorance, loss = math.log(subject.data.num_classes), result["train_loss"]
        if loss <= ignorance:
            return line
        return (
            f"{line}\nwarning: the last training loss, {loss:.3g}, exceeds log({subject.data.num_classes}) = "
            f"{ignorance:.3g}: {'try the protocol logistic' if settings['candidates'] else _TRY_SEARCH}"
        )


_Batch = tuple[Tensor, Tensor, Tensor]  # features [B, D], labels [B], held out or not: bool [B]


def _cached_batches(
    subject: Subject, held_out: np.ndarray, batch_size: int, epochs: int, seed: int, start: int
) -> Iterator[_Batch]:
    """Batches, from step ``start``, of features computed once, of each image and of its mirror image."""
    device = subject.feature_config.device
    upright, labels = subject.features("train")
    mirrored, _ = subject.features("train", mirrored=True)
    both = torch.stack([upright, mirrored]).to(device)
    labels, held = labels.to(device), torch.from_numpy(held_out).to(device)
    skipped_epochs, skipped = divmod(start, len(labels) // batch_size)
    for epoch in range(skipped_epochs, epochs):
        order = torch.from_numpy(permute(seed, epoch, len(labels), np.arange(len(labels))))
        side = torch.randint(
            2, (len(labels),), generator=torch.Generator().manual_seed(seed * epochs + epoch)
        )
        first = skipped * batch_size if epoch == skipped_epochs else 0
        for place in range(first, len(labels) - batch_size + 1, batch_size):
            chosen = order[place : place + batch_size].to(device)
            features = both[side[chosen.cpu()].to(device), chosen]
            yield features, labels[chosen], held[chosen]


def _cropped_batches(
    subject: Subject, held_out: np.ndarray, batch_size: int, epochs: int, seed: int, start: int
) -> Iterator[_Batch]:
    """Batches, from step ``start``, of features of freshly cropped (at the usual scale) and flipped views."""
    train, config = subject.data.train, subject.feature_config
    config = replace(config, spec=augmented(config.spec, "crop"))
    count = len(train.index)
    steps = count // batch_size
    plan = Plan(count=count, batch_size=batch_size, batches_per_epoch=steps, seed=seed)
    ids = torch.from_numpy(train.index.sample_ids[held_out]).to(config.device)
    with open_views(train, config, plan, epochs * steps, start=start) as loader:
        for batch in loader:
            with torch.no_grad():
                features = encode(subject.encoder, batch.views[0], config)
            assert batch.labels is not None
            yield features, batch.labels, torch.isin(batch.sample_ids, ids)


def linear_predictions(
    subject: Subject,
    setting: LinearSetting,
    augmentation: AugmentationChoice,
    seed: int,
    resume_file: Path | None,
) -> tuple[Tensor, dict[str, Any]]:
    """Train a linear classifier on frozen features and test it after the last epoch.

    Args:
        subject: encoder, images and the test view.
        setting: schedule; a data set smaller than its batch lowers the batch, and the rate with it.
        augmentation: ``crop`` is the papers' random resized crop and flip; ``flip`` trains on cached features
            of the central crop and its mirror image; ``auto`` is flip below 64 pixels and crop from there.
        seed: random seed for initial weights, sample order, views and held-out images.
        resume_file: keeps the state of a training that is not finished; None: nothing is kept.

    Returns:
        classes of the test images, int64 [M]; and the result: their ``top1``, ``train_loss`` of the last
        epoch, ``train_held_out_top1`` of each candidate (``lr 0.1``), and the ``settings`` used, with the
        ``learning_rate`` chosen, at the setting's batch.
    """
    config, device = subject.feature_config, subject.feature_config.device
    augmentation = choose_augmentation(augmentation, config.spec)
    count = len(subject.data.train.index)
    batch_size = min(setting.batch_size, count)
    scale = _scale(subject.features("train")[0]) if setting.standardized else lambda features: features
    test, answers = subject.features("test")
    candidates = setting.candidates or (setting.learning_rate,)
    searches = len(candidates) > 1
    held_out = _held_out(count, seed) if searches else np.zeros(count, bool)
    shares = torch.tensor(candidates * (1 + searches), device=device) / setting.learning_rate
    learns_from_all = torch.arange(len(shares), device=device) < len(candidates)
    classifiers = LinearClassifiers(len(shares), test.shape[1], subject.data.num_classes, seed, device)
    optimizer = SGDAtRates(
        classifiers.parameters(), shares, nesterov=setting.nesterov, weight_decay=setting.weight_decay
    )
    train_step = TrainStep(classifiers, optimizer, device=device, seed=seed)
    make_batches = _cached_batches if augmentation == "flip" else _cropped_batches

    def batches(start: int) -> Generator[FeatureBatch]:
        made = make_batches(subject, held_out, batch_size, setting.epochs, seed, start)
        for features, labels, held in made:
            used = learns_from_all[:, None] | ~held if searches else None
            yield FeatureBatch(features=scale(features), labels=labels, used=used)

    views = replace(config, spec=augmented(config.spec, augmentation))
    with Resumable(resume_file, training_facts(subject, views, setting, seed)) as resumable:
        losses = train_to_end(
            classifiers,
            train_step,
            batches,
            setting,
            resumable,
            images=count,
            entry="classifiers",
            doing="linear: steps",
        )
    best, scores = 0, dict[str, float]()
    if searches:
        features, labels = (part[torch.from_numpy(held_out)] for part in subject.features("train"))
        best, scores = _best_rate(classifiers, candidates, scale(features), labels)
    predicted = classifiers.predictions(scale(test), best)
    return predicted, {
        "top1": int((predicted == answers).sum()) / len(predicted),
        "train_loss": float(losses[best]),
        "train_held_out_top1": scores,
        "augmentation": augmentation,
        "batch_size": batch_size,
        "epochs": setting.epochs,
        "settings": {"augmentation": augmentation, **asdict(setting), "learning_rate": candidates[best]},
    }


def _best_rate(
    classifiers: LinearClassifiers, candidates: tuple[float, ...], features: Tensor, labels: Tensor
) -> tuple[int, dict[str, float]]:
    """The candidate that is best on held-out features, and the top-1 of each.

    Of classifiers, the second half has not learned from them; of equals, the smallest loss counts.
    """
    accuracies, losses = (found[len(candidates) :] for found in classifiers.scores(features, labels))
    best = max(range(len(candidates)), key=lambda i: (accuracies[i], -losses[i]))
    return best, {f"lr {rate:g}": top1 for rate, top1 in zip(candidates, accuracies, strict=True)}


def _scale(train: Tensor) -> Callable[[Tensor], Tensor]:
    """A function that standardizes features by the training images' [N, D]; constant ones become 0."""
    variance, mean = torch.var_mean(train, 0, correction=0)
    deviation = torch.where(variance > 0, variance, 1).sqrt()

    def scale(features: Tensor) -> Tensor:
        return (features - mean.to(features.device)) / deviation.to(features.device)

    return scale


def _held_out(count: int, seed: int) -> np.ndarray:
    """Training images that choose among rates, bool [N]: a fifth, at least one."""
    chosen = keyed_sample("linear", count, max(1, round(_HELD_OUT * count)), seed=seed)
    held = np.zeros(count, bool)
    held[chosen] = True
    return held
