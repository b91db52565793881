"""BYOL (Grill et al., 2020; Huang et al., 2022, equation 2): predict the teacher's view, no negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fastssl.distributed.collectives import all_gather_with_gradient
from fastssl.methods.method import autocast_off, expect_views
from fastssl.methods.student_teacher import StudentTeacher
from fastssl.metrics.embeddings import embedding_diagnostics
from fastssl.metrics.uniformity import uniformity
from fastssl.models.heads import Head
from pipelines.batch import Batch
from pipelines.command.ranges import NotNegative


class BYOL(StudentTeacher):
    """Loss: |q1 - k2|^2 + |q2 - k1|^2, q the student's and k the teacher's unit vectors of two views.

    With ``uniformity_weight`` w, plus w (L_uniform(q1) + L_uniform(q2)): "BYOL + L_uniform" of MSBReg's
    supplement (Moon et al., 2022, table 3), which does not give its w.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(StudentTeacher.Config):
        """BYOL. The defaults are those of 100 to 300 epochs."""

        num_views: ClassVar[int] = 2

        predictor: Head.Config = Head.Config()
        """The student's head behind its projector."""
        uniformity_weight: NotNegative = 0.0
        """Weight of L_uniform of either view's queries. 1 weighs it against the distances as Wang and Isola
        (2020) do."""

    config: Config

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the batch of the loss, in [0, 8] but for L_uniform; see ``Method.forward``."""
        views = expect_views(batch, self.config.num_views, self.config.kind)
        q1, q2 = self.queries(views)
        k1, k2 = self.keys(views, batch.step)
        with autocast_off(q1):
            first, second = squared_distance(q1, k2), squared_distance(q2, k1)
            loss = first.mean() + second.mean()
            if self.config.uniformity_weight:
                spread = uniformity(all_gather_with_gradient(q1)) + uniformity(all_gather_with_gradient(q2))
                loss = loss + self.config.uniformity_weight * spread
        metrics = embedding_diagnostics(q1, k2, torch.cat([first, second]), [q1, q2])
        return loss, {"loss": loss.detach(), **metrics}

    @property
    def repeats(self) -> bool:
        """True without shuffling BN, whose order is drawn."""
        return not self.config.teacher.shuffling_bn


def squared_distance(queries: Tensor, keys: Tensor) -> Tensor:
    """|q - k|^2 = 2 - 2 q.k of unit vectors [B, D], [B]."""
    return 2 - 2 * (queries * keys).sum(1)
