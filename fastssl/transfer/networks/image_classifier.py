"""An encoder with a linear classifier of whole images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastssl.methods.method import autocast_off
from fastssl.models.backbone import Backbone
from fastssl.transfer.networks.encoder_with_head import EncoderWithHead
from fastssl.transfer.prediction import Prediction
from pipelines.dense.dense_batch import DenseBatch


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
