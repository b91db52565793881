"""Networks that train a copy of an encoder, or leave it frozen, under a head of one layer."""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastssl.methods.method import autocast_off
from fastssl.models.backbone import Backbone
from fastssl.transfer.network import Prediction, TransferNetwork
from pipelines.dense.dense_batch import DenseBatch


class EncoderWithHead(TransferNetwork):
    """A copy of an encoder, for a head that a subclass adds.

    Args:
        encoder: left as it is.
        frozen: the encoder is not trained, and stays in evaluation mode.
    """

    def __init__(self, encoder: Backbone, *, frozen: bool) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(not frozen)
        self._frozen = frozen

    def train(self, mode: bool = True) -> Self:
        """Same as torch's, but a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self._frozen:
            self.encoder.eval()
        return self


class ImageClassifier(EncoderWithHead):
    """A copy of an encoder and a linear layer on its features, computed in float32.

    Args:
        encoder: [B, 3, S, S] to [B, D]; left as it is.
        classes: number of classes.
        frozen: only the linear layer is trained; the encoder stays in evaluation mode.
    """

    def __init__(self, encoder: Backbone, classes: int, *, frozen: bool) -> None:
        super().__init__(encoder, frozen=frozen)
        self.classifier = nn.Linear(encoder.feature_dim, classes)

    def logits(self, images: Tensor) -> Tensor:
        """Images [B, 3, S, S] to logits [B, C]."""
        features = self.encoder(images).float()
        with autocast_off(features):
            logits: Tensor = self.classifier(features)
        return logits

    def losses(self, batch: DenseBatch) -> dict[str, Tensor]:
        """The mean cross entropy."""
        assert batch.labels is not None
        logits = self.logits(batch.images)
        with autocast_off(logits):
            return {"cross_entropy": functional.cross_entropy(logits, batch.labels)}

    @torch.no_grad()
    def predict(self, batch: DenseBatch) -> list[Prediction]:
        """The class of each image."""
        return [Prediction(label=label) for label in self.logits(batch.images).argmax(1).tolist()]
