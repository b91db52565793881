"""Settings of linear evaluation: the papers' for their own recipes, a search over learning rates elsewhere.

``sgd`` and ``lars`` are those of Huang et al. (2022), section 3.2, for encoders trained with SGD and with
LARS (BYOL's); ``simclr`` is that of EqCo's authors (Zhu et al., 2020) for SimCLR. Their rates fit features of
a ResNet-50 on ImageNet. Other features have other scales, at which such a rate may diverge: ``search``
standardizes them and chooses a rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from fastssl.evaluate.subject import Subject

SettingName = Literal["sgd", "lars", "simclr", "search"]
LARGE_SIDE, LARGE_DATA = 64, 100_000  # pixels of a view and training images, from which papers' rates are fit


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
    weight_decay: float = 0.0
    """Coefficient of the L2 penalty."""
    standardized: bool = False
    """Features at mean 0 and variance 1 over the training images."""
    candidates: tuple[float, ...] = ()
    """Rates to choose from on held-out training images; () keeps ``learning_rate``."""

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


_SGD = LinearSetting(epochs=100, batch_size=256, learning_rate=30.0, nesterov=False, drops=(60, 80))
SETTINGS: dict[SettingName, LinearSetting] = {
    "sgd": _SGD,
    "lars": LinearSetting(epochs=80, batch_size=1024, learning_rate=0.8, nesterov=True, drops=()),
    "simclr": replace(_SGD, epochs=90, learning_rate=0.1, weight_decay=1e-6),
    "search": replace(
        _SGD,
        learning_rate=1.0,
        standardized=True,
        candidates=(0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
    ),
}


def choose_setting(subject: Subject) -> SettingName:
    """The papers' setting for a recipe of theirs at its scale, otherwise ``search``.

    A recipe is at its paper's scale with views of at least 64 pixels and 100,000 labeled training images.
    """
    large = subject.feature_config.spec.size >= LARGE_SIDE and len(subject.data.train.index) >= LARGE_DATA
    if not (subject.of_paper and large):
        return "search"
    if subject.method == "simclr":
        return "simclr"
    return "lars" if subject.optimizer == "lars" else "sgd"
