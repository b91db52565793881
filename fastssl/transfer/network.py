"""The interface of transfer networks, and what they predict."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from pipelines.dense.dense_batch import DenseBatch


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """m objects found, and maps, in the pixels of the original image; what is not predicted is None."""

    boxes: np.ndarray | None = None
    """float32 [m, 4], left, top, right, bottom."""
    scores: np.ndarray | None = None
    """float32 [m], falling."""
    classes: np.ndarray | None = None
    """int64 [m], position in the class names of the data."""
    masks: np.ndarray | None = None
    """bool [m, H, W]."""
    segmentation: np.ndarray | None = None
    """uint8 [H, W], class of each pixel."""
    depth: np.ndarray | None = None
    """float32 [H, W]."""
    label: int | None = None
    """Class of the image."""


class TransferNetwork(nn.Module, ABC):
    """Base of the networks: an encoder with a head, its losses, and its predictions.

    It has what ``TrainStep`` asks of a method.
    """

    @abstractmethod
    def losses(self, batch: DenseBatch) -> dict[str, Tensor]:
        """Named losses over a batch, each 0-dim; their sum is followed."""

    @abstractmethod
    def predict(self, batch: DenseBatch) -> list[Prediction]:
        """A prediction per image, in the pixels of the original image. In evaluation mode."""

    def forward(self, batch: DenseBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, 0-dim, and it and its parts, detached, by name."""
        parts = self.losses(batch)
        loss = sum(parts.values(), start=next(iter(parts.values())).new_zeros(()))
        return loss, {"loss": loss.detach()} | {name: part.detach() for name, part in parts.items()}

    def averages(self, step: int) -> list[tuple[nn.Module, nn.Module, float]]:
        """Nothing is averaged."""
        return []

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""
