"""Supervised pre-training: the encoder with a linear classifier, trained by cross entropy on the labels."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastssl.methods.method import Method, RunFacts, exactly, full_precision
from fastssl.models.backbone import Backbone, build_backbone
from pipelines.batch import Batch
from pipelines.command.errors import UserError


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig:
    """Supervised pre-training."""

    num_views: ClassVar[int] = 1

    kind: Literal["supervised"] = "supervised"


class Supervised(Method):
    """Loss: the mean cross entropy of a linear classifier on the encoder's features."""

    def __init__(self, config: SupervisedConfig, backbone: Backbone.Config, run: RunFacts) -> None:
        if run.num_classes is None:
            raise UserError("supervised training needs classes: give data with one folder for each class")
        super().__init__()
        self.config = config
        encoder = build_backbone(backbone)
        classifier = nn.Linear(encoder.feature_dim, run.num_classes)
        self.student = nn.Sequential(OrderedDict(encoder=encoder, classifier=classifier))

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cross entropy over the batch; see ``Method.forward``."""
        (view,) = exactly(batch, self.config.num_views, "supervised")
        if batch.labels is None:
            raise UserError("supervised training needs labels: give data with one folder for each class")
        logits = self.student(view).float()
        with full_precision(logits):
            loss = functional.cross_entropy(logits, batch.labels)
        with torch.no_grad():
            accuracy = (logits.argmax(1) == batch.labels).float().mean()
        return loss, {"loss": loss.detach(), "accuracy": accuracy}
