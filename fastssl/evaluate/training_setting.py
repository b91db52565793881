"""Schedules of protocols that train: epochs, batch, rate and its decay."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, kw_only=True)
class TrainingSetting:
    """SGD's schedule on labeled images, momentum 0.9."""

    epochs: int
    """Passes over the training images."""
    batch_size: int
    """Images per step."""
    learning_rate: float
    """The first of the classifier, at ``batch_size``."""
    nesterov: bool
    """Nesterov's momentum in place of the heavy ball; 0.9 either way."""
    drops: tuple[int, ...]
    """Epochs after which the rate is divided by 10; () is a cosine to 0."""
    weight_decay: float = 0.0
    """Coefficient of the L2 penalty."""

    def lasting(self, epochs: int) -> Self:
        """The same schedule over another number of epochs; 0 keeps its own."""
        epochs = epochs or self.epochs
        drops = tuple(round(drop * epochs / self.epochs) for drop in self.drops)
        return replace(self, epochs=epochs, drops=drops)

    def rate(self, step: int, steps_per_epoch: int, batch_size: int) -> float:
        """Learning rate of a step, scaled linearly to the batch size in use."""
        base = self.learning_rate * batch_size / self.batch_size
        if self.drops:
            return base * 0.1 ** sum(step // steps_per_epoch >= drop for drop in self.drops)
        return base * 0.5 * (1 + math.cos(math.pi * step / (self.epochs * steps_per_epoch)))
