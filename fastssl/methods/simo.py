"""SiMo: MoCo without a queue, its negatives the teacher's keys of the same batch.

Zhu, Huang, Li, Zhang, Sun, "EqCo: equivalent rules for self-supervised contrastive learning" (2020),
section 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from fastssl.component import ExperimentFields
from fastssl.distributed.collectives import all_gather, first_row, world_size
from fastssl.methods.info_nce import InfoNCE, negative_columns, shared_negative_columns
from fastssl.methods.method import RunFacts, autocast_off, expect_views
from fastssl.methods.student_teacher import StudentTeacher
from fastssl.metrics.embeddings import embedding_diagnostics
from fastssl.models.backbone import Backbone
from fastssl.models.heads import Head
from fastssl.models.teacher import Teacher
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.keys import stable_id

_NEGATIVES = stable_id("simo/negatives")
_TINY_BATCH = 64  # images of a batch at test size


class SiMo(StudentTeacher):
    """Loss: the mean of InfoNCE over the student's first views; keys are the teacher's second views.

    Each query draws its own negatives, where the authors' code draws one set of offsets for all queries
    (``shared_negatives``): by the paper's remark 2, sharing makes little difference. Each rank asks the
    queries of its own images, among the keys of all ranks.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(StudentTeacher.Config):
        """SiMo. The defaults are the paper's on ImageNet, batch 256; its backbone has zero_init_residual."""

        num_views: ClassVar[int] = 2

        projector: Head.Config = Head.Config(hidden_dim=2048, out_dim=128, out_norm="batch", bias=False)
        """Head of both networks; its hidden layer is as wide as a ResNet-50's features."""
        teacher: Teacher.Config = Teacher.Config(momentum=0.999, ascending=False)
        """Teacher; with momentum (the paper's beta) 0 it equals the student."""
        loss: InfoNCE.Config = InfoNCE.Config(temperature=0.2, num_negatives=256, eqco_alpha=256)
        """Its negatives are drawn for each query; None, or as many as the whole batch N: its N - 1 others."""
        shared_negatives: bool = False
        """One draw of offsets for all queries of a step, as in the authors' code."""

        def negatives_among(self, images: int) -> int:
            """K of each query of a batch of so many images: all of them stand for the N - 1 others.

            Raises:
                UserError: there are fewer.
            """
            wanted = images if self.loss.num_negatives is None else self.loss.num_negatives
            if wanted > images:
                raise UserError(
                    f"simo: num_negatives {wanted} but the batch holds {images} images: "
                    "lower num_negatives, or raise the batch or lower the accumulation steps"
                )
            return min(wanted, images - 1)

        def fitted(self, *, images: int, batch_size: int) -> Self:
            """The same with no more negatives than the batch has images."""
            return replace(self, loss=self.loss.at_most(batch_size))

        def check(self, experiment: ExperimentFields) -> None:
            """Check that a micro-batch has as many negatives as asked for.

            Raises:
                UserError: it has fewer.
            """
            super().check(experiment)
            self.negatives_among(experiment.batch_size // experiment.accumulation_steps)

        def small(self) -> Self:
            """The same at test size, with no more negatives than a small batch has."""
            return replace(super().small(), loss=self.loss.at_most(_TINY_BATCH))

    config: Config
    shuffles = "simo/shuffling/{seed}"

    def __init__(self, config: Config, backbone: Backbone.Config, run: RunFacts) -> None:
        super().__init__(config, backbone, run)
        self._loss = InfoNCE(config.loss)

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the batch's images; see ``Method.forward``."""
        first, second = expect_views(batch, self.config.num_views, self.config.kind)
        images, own = len(batch) * world_size(), first_row(len(batch))
        num_negatives = self.config.negatives_among(images)
        (queries,) = self.queries((first,))
        (keys,) = self.keys((second,), batch.step)
        draw, rows = (self._seed, batch.step, _NEGATIVES), range(own, own + len(batch))
        facts = {"images": images, "count": num_negatives}
        if self.config.shared_negatives:
            columns = shared_negative_columns(draw, **facts, own=rows, device=queries.device)
        else:
            columns = negative_columns(draw, views=1, **facts, own=rows, device=queries.device)
        with autocast_off(queries):
            similarities = queries @ all_gather(keys).T / self.config.loss.temperature
            positive, negatives = similarities.diagonal(own), similarities.gather(1, columns)
            losses = self._loss(positive, negatives)
            loss = losses.mean()
        with torch.no_grad():
            rivals = negatives.amax(1)
        metrics = {
            "loss": loss.detach(),
            **self._loss.metrics(loss, losses, positive, rivals, num_negatives),
            **embedding_diagnostics(queries, keys, losses, [queries]),
        }
        return loss, metrics
