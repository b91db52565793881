"""Supervised pre-training: the encoder with a linear classifier, trained by cross entropy on the labels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastssl.methods.method import Method, RunFacts, autocast_off, expect_views
from fastssl.models.backbone import Backbone
from pipelines.batch import Batch
from pipelines.command.errors import UserError


class Supervised(Method):
    """Loss: the mean cross entropy of a linear classifier on the encoder's features."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        """Supervised pre-training."""

        num_views: ClassVar[int] = 1

    def __init__(self, config: Config, backbone: Backbone.Config, run: RunFacts) -> None:
        if run.num_classes is None:
            raise UserError("supervised training needs classes: give data with one folder for each class")
        super().__init__()
        self.config = config
        encoder = self.build_encoder(config, backbone)
        classifier = nn.Linear(encoder.feature_dim, run.num_classes)
        self.student = nn.Sequential(OrderedDict(encoder=encoder, classifier=classifier))

    @staticmethod
    def classifier(state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Weight [C, D] and bias [C] of the classifier, on the CPU, from the saved state of a method."""
        return state["student.classifier.weight"].cpu(), state["student.classifier.bias"].cpu()

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cross entropy over the batch; see ``Method.forward``."""
        (view,) = expect_views(batch, self.config.num_views, self.config.kind)
        if batch.labels is None:
            raise UserError("supervised training needs labels: give data with one folder for each class")
        logits = self.student(view).float()
        with autocast_off(logits):
            loss = functional.cross_entropy(logits, batch.labels)
        with torch.no_grad():
            accuracy = (logits.argmax(1) == batch.labels).float().mean()
        return loss, {"loss": loss.detach(), "accuracy": accuracy}

    repeats = True
