"""Rotation: tell by how many quarter turns an image was turned.

Gidaris, Singh, Komodakis, "Unsupervised representation learning by predicting image rotations" (2018), with
one turn an image, as in the public code of Newell and Deng, "How useful is self-supervised pretraining for
visual tasks?" (2020).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastssl.distributed.collectives import first_row, world_size
from fastssl.methods.method import Method, RunFacts, autocast_off, expect_views
from fastssl.models.backbone import Backbone
from pipelines.batch import Batch, to_device
from pipelines.keys import stable_id
from pipelines.plan.order import permute

TURNS = 4


class Rotation(Method):
    """Loss: the mean cross entropy of a linear classifier of the four turns on the encoder's features.

    A quarter of the global batch is turned by each of 0, 90, 180 and 270 degrees.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        """Rotation."""

        num_views: ClassVar[int] = 1

    def __init__(self, config: Config, backbone: Backbone.Config, run: RunFacts) -> None:
        super().__init__()
        self.config = config
        encoder = self.build_encoder(config, backbone)
        classifier = nn.Linear(encoder.feature_dim, TURNS)
        self.student = nn.Sequential(OrderedDict(encoder=encoder, classifier=classifier))
        self._seed = run.seed

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cross entropy over the batch; see ``Method.forward``."""
        (view,) = expect_views(batch, self.config.num_views, self.config.kind)
        turns = quarter_turns(self._seed, batch.step, len(batch) * world_size())
        turns = turns[first_row(len(batch)) :][: len(batch)]
        logits = self.student(turned(view, turns)).float()
        labels = to_device(turns, view.device)
        with autocast_off(logits):
            loss = functional.cross_entropy(logits, labels)
        with torch.no_grad():
            accuracy = (logits.argmax(1) == labels).float().mean()
        return loss, {"loss": loss.detach(), "accuracy": accuracy}


def quarter_turns(seed: int, step: int, images: int) -> np.ndarray:
    """The turns of a global batch, int64 [N] in 0 to 3: each as often as the others, or once more.

    Args:
        seed: random seed of the run.
        step: step of the loader.
        images: N.
    """
    return permute(stable_id(f"rotation/turns/{seed}"), step, images, np.arange(images)) % TURNS


def turned(view: Tensor, turns: np.ndarray) -> Tensor:
    """Images [B, C, S, S], each turned clockwise by its number of quarters ``turns``, int64 [B]."""
    out = torch.empty_like(view)
    for turn in range(TURNS):
        rows = to_device(np.flatnonzero(turns == turn), view.device)
        out[rows] = torch.rot90(view[rows], -turn, (2, 3))
    return out
