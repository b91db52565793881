"""The interface of transfer networks."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from fastssl.transfer.prediction import Prediction
from pipelines.dense.dense_batch import DenseBatch


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
