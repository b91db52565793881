"""Settings of linear evaluation: the papers' for their own recipes, a search over learning rates elsewhere.

``sgd`` and ``lars`` are those of Huang et al. (2022), section 3.2, for encoders trained with SGD and with
LARS (BYOL's); ``simclr`` is that of EqCo's authors (Zhu et al., 2020) for SimCLR; ``inat18`` and
``places205`` are those of Moon et al. (2022) for the data sets of these names, whose drops are equally
spaced. Their rates fit features of a ResNet-50 on ImageNet. Other features have other scales, at which such
a rate may diverge: ``search`` standardizes them and chooses a rate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from fastssl.evaluate.augmentation import LARGE_SIDE
from fastssl.evaluate.subject import Subject
from fastssl.evaluate.training_setting import TrainingSetting

SettingName = Literal["sgd", "lars", "simclr", "inat18", "places205", "search"]
LARGE_DATA = 100_000  # training images, from which papers' rates are fit


@dataclass(frozen=True, kw_only=True)
class LinearSetting(TrainingSetting):
    """Training settings of a classifier on frozen features."""

    standardized: bool = False
    """Features at mean 0 and variance 1 over the training images."""
    candidates: tuple[float, ...] = ()
    """Rates to choose from on held-out training images; () keeps ``learning_rate``."""


_SGD = LinearSetting(epochs=100, batch_size=256, learning_rate=30.0, nesterov=False, drops=(60, 80))
_TRANSFER = replace(_SGD, learning_rate=0.2, weight_decay=1e-4)
SETTINGS: dict[SettingName, LinearSetting] = {
    "sgd": _SGD,
    "lars": LinearSetting(epochs=80, batch_size=1024, learning_rate=0.8, nesterov=True, drops=()),
    "simclr": replace(_SGD, epochs=90, learning_rate=0.1, weight_decay=1e-6),
    "inat18": replace(_TRANSFER, epochs=84, drops=(28, 56)),
    "places205": replace(_TRANSFER, epochs=28, drops=(9, 19)),
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
