"""CMC: lightness and colors of an image are told to belong together, against memories of other images.

Tian, Krishnan, Isola, "Contrastive multiview coding" (2019), as the public code of Newell and Deng, "How
useful is self-supervised pretraining for visual tasks?" (2020), trains it: by cross entropy over 1 + K.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastssl.distributed.collectives import all_gather, first_row
from fastssl.methods.method import Method, RunFacts, autocast_off, expect_views, full_precision
from fastssl.metrics.embeddings import embedding_diagnostics
from fastssl.models.backbone import Backbone
from fastssl.models.lab_halves import LabHalves
from fastssl.models.memory_bank import MemoryBank
from pipelines.batch import Batch, to_device
from pipelines.command.errors import UserError
from pipelines.command.ranges import BelowOne, Count, Positive
from pipelines.keys import row_uniforms, stable_id

_NEGATIVES = stable_id("cmc/negatives")


class CMC(Method):
    """Loss: L(lightness, memory of colors) + L(colors, memory of lightness), views in L*a*b*.

    L is the mean over the batch of the cross entropy of a query's own row of a memory bank against K others
    of it, drawn with replacement from all, its own included. The encoder is two halves of the backbone, whose
    unit vectors are its features, joined. Rows move to their images' embeddings after the step.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        """Contrastive multiview coding. The defaults are those of the ResNet-9 on single objects."""

        num_views: ClassVar[int] = 1
        color_space: ClassVar = "lab"

        temperature: Positive = 0.1
        """tau, by which similarities are divided."""
        num_negatives: Count = 8192
        """K, for each query."""
        memory_momentum: BelowOne = 0.2
        """Share of the old row of an image in its new one."""

        def small(self) -> Self:
            """The same with fewer negatives."""
            return replace(self, num_negatives=min(256, self.num_negatives))

    _ids: Tensor

    def __init__(self, config: Config, backbone: Backbone.Config, run: RunFacts) -> None:
        if run.sample_ids is None:
            raise UserError("cmc keeps a memory of its training images: it is built together with them only")
        super().__init__()
        self.config = config
        encoder = self.build_encoder(config, backbone)
        self.student = nn.Sequential(OrderedDict(encoder=encoder))
        ids = np.unique(run.sample_ids)
        self.register_buffer("_ids", torch.from_numpy(ids), persistent=False)  # in the order of rows
        self.lightness_memory = MemoryBank(len(ids), encoder.feature_dim // 2)
        self.color_memory = MemoryBank(len(ids), encoder.feature_dim // 2)
        self._seed = run.seed

    @classmethod
    def build_encoder(cls, config: Method.Config, backbone: Backbone.Config) -> Backbone:
        """The two halves of the backbone; see ``Method.build_encoder``."""
        return LabHalves(backbone)

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the batch of the loss; see ``Method.forward``."""
        (view,) = expect_views(batch, self.config.num_views, self.config.kind)
        halves = full_precision(self.student(view)).chunk(2, 1)
        lightness, colors = (functional.normalize(half, dim=1) for half in halves)
        own = torch.searchsorted(self._ids, batch.sample_ids)
        places = torch.cat([own[:, None], self._negatives(batch)], 1)
        with autocast_off(view):
            logits = [
                memory.similarities(queries, places) / self.config.temperature
                for queries, memory in ((lightness, self.color_memory), (colors, self.lightness_memory))
            ]
            losses = [functional.softplus(each[:, 1:].logsumexp(1) - each[:, 0]) for each in logits]
            loss = torch.stack([each.mean() for each in losses]).sum().float()
        self.pending.extend(all_gather(rows) for rows in (own, lightness, colors))
        with torch.no_grad():
            first = torch.cat(logits)
            metrics = {
                "loss": loss.detach(),
                "lightness_loss": losses[0].mean().detach(),
                "color_loss": losses[1].mean().detach(),
                "positive_similarity": first[:, 0].mean() * self.config.temperature,
                "accuracy": (first[:, 0] > first[:, 1:].amax(1)).float().mean(),
                **embedding_diagnostics(lightness, colors),
            }
        return loss, metrics

    def after_step(self, step: int) -> None:
        """Bring the memories up to date: those of all processes' images."""
        momentum = self.config.memory_momentum
        for own, lightness, colors in zip(*[iter(self.pending)] * 3, strict=True):  # of each micro-batch
            self.lightness_memory.update(own, lightness, momentum)
            self.color_memory.update(own, colors, momentum)
        self.pending.clear()

    def _negatives(self, batch: Batch) -> Tensor:
        """Rows of the memories that are negatives of each query, int64 [B, K]."""
        draw = np.array([self._seed, batch.step, _NEGATIVES])
        rows = np.arange(len(batch)) + first_row(len(batch))
        drawn = row_uniforms(draw, rows, self.config.num_negatives) * len(self._ids)
        return to_device(drawn.astype(np.int64), batch.sample_ids.device)
