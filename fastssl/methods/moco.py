"""MoCo, from v1 to v2+ and its symmetric form: InfoNCE against a queue of the teacher's past keys.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning",
2022, sections 3.1 and 4.1 and figure 1. He, Fan, Wu, Xie, Girshick, "Momentum contrast for unsupervised
visual representation learning", 2020 (v1); Chen, Fan, Girshick, He, "Improved baselines with momentum
contrastive learning", 2020 (v2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from fastssl.distributed.collectives import all_gather
from fastssl.methods.info_nce import InfoNCE, draw_keys
from fastssl.methods.method import RunFacts, autocast_off, expect_views, power_of_two_up_to
from fastssl.methods.student_teacher import StudentTeacher
from fastssl.metrics.embeddings import embedding_diagnostics
from fastssl.models.backbone import Backbone
from fastssl.models.heads import Head
from fastssl.models.key_queue import KeyQueue
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.keys import stable_id, uniforms

_ENQUEUED_VIEW = stable_id("moco/enqueued-view")
_KEPT_KEYS = stable_id("moco/kept-keys")


class MoCo(StudentTeacher):
    """Loss: L(q1, k2) + L(q2, k1), q the student's and k the teacher's unit vectors of two views.

    The negatives of both terms are the queue as it was before the step. Without ``symmetric_loss`` the first
    term is all.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(StudentTeacher.Config):
        """MoCo. The defaults are those of v2+ of Huang et al., 2022, on ImageNet."""

        num_views: ClassVar[int] = 2

        predictor: Head.Config = Head.Config()
        """Head behind the projector, in the networks of ``predictor_on``."""
        predictor_on: Literal["none", "student", "both"] = "student"
        """Networks with a predictor: none in v1 and v2, the student in v2+, both in S-v2+."""
        symmetric_loss: bool = True
        """Both ways; otherwise the student sees view 1 only, and the teacher view 2."""
        loss: InfoNCE.Config = InfoNCE.Config(temperature=0.2, num_negatives=65536)
        """Its negatives are the queue, whose size is K; below a step's keys: K of them drawn at each step."""
        enqueue: Literal["random_view", "all"] = "random_view"
        """Keys that join the queue: those of a view drawn at each step (the authors' code), or all (their
        text). Without a symmetric loss there is but one view's."""

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.loss.num_negatives is None:
                raise UserError("moco's queue needs a size: give --method.loss.num-negatives")

        @property
        def queue_size(self) -> int:
            """K."""
            assert self.loss.num_negatives is not None
            return self.loss.num_negatives

        @property
        def heads(self) -> dict[str, Head.Config]:
            """Projector and, where there is one, predictor."""
            both = {"projector": self.projector, "predictor": self.predictor}
            return {"projector": self.projector} if self.predictor_on == "none" else both

        def fitted(self, *, images: int, batch_size: int) -> Self:
            """The same with a queue of at most half as many keys as there are images, a power of two."""
            return replace(self, loss=self.loss.at_most(power_of_two_up_to(images // 2)))

        def warnings(self, images: int) -> Iterator[str]:
            """A queue that holds several keys of one image."""
            if self.queue_size > images:
                fitted = self.fitted(images=images, batch_size=1).queue_size
                yield (
                    f"the queue holds {self.queue_size} keys and the data has {images} images, so that "
                    f"queries meet their own image as negatives: set --method.loss.num-negatives {fitted}"
                )

        def small(self) -> Self:
            """The same at test size, with a short queue."""
            return replace(super().small(), predictor=self.predictor.small(), loss=self.loss.at_most(256))

    config: Config

    def __init__(self, config: Config, backbone: Backbone.Config, run: RunFacts) -> None:
        super().__init__(config, backbone, run, teacher_heads=2 if config.predictor_on == "both" else 1)
        self.queue = KeyQueue(config.queue_size, config.projector.out_dim)
        self._loss = InfoNCE(config.loss)

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the batch of the loss; see ``Method.forward``."""
        views = expect_views(batch, self.config.num_views, self.config.kind)
        symmetric = self.config.symmetric_loss
        queries = self.queries(views if symmetric else views[:1])
        keys = self.keys(views if symmetric else views[1:], batch.step)
        with autocast_off(queries[0]):
            logits = [self._logits(q, k) for q, k in zip(queries, reversed(keys), strict=True)]
            losses = [self._loss(*pair) for pair in logits]
            loss = torch.stack([each.mean() for each in losses]).sum()
        self.pending.extend(keys)
        with torch.no_grad():
            positives = torch.cat([positive for positive, _ in logits])
            rivals = torch.cat([negatives.amax(1) for _, negatives in logits])
            mean_loss = loss / len(losses)
        metrics = {
            "loss": loss.detach(),
            **self._loss.metrics(mean_loss, torch.cat(losses), positives, rivals, self.config.queue_size),
            **embedding_diagnostics(queries[0], keys[-1], torch.cat(losses), queries),
        }
        return loss, metrics

    @property
    def repeats(self) -> bool:
        """True without shuffling BN, whose order is drawn."""
        return not self.config.teacher.shuffling_bn

    def after_step(self, step: int) -> None:
        """Enqueue the step's keys, of all processes: not before, as backward still reads the old queue."""
        keys = torch.cat([all_gather(rows) for rows in self._enqueued(self.pending, step)])
        self.queue.enqueue(self._kept(keys, step), step)
        self.pending.clear()

    def _logits(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Similarities over temperature: to each query's own key [B], to the queue's [B, K]."""
        queries = queries / self.config.loss.temperature
        return (queries * keys).sum(1), queries @ self.queue.keys.T

    def _kept(self, keys: Tensor, step: int) -> Tensor:
        """All keys of a step, or as many as the queue holds, drawn at random (Zhu et al., 2020, 2.3)."""
        size = self.config.queue_size
        if len(keys) <= size:
            return keys
        draw = (self._seed, step, _KEPT_KEYS)
        return keys[draw_keys(draw, candidates=len(keys), count=size, device=keys.device)]

    def _enqueued(self, keys: list[Tensor], step: int) -> list[Tensor]:
        """Those of the keys that join the queue: each micro-batch left one view's, or both in turn."""
        if not self.config.symmetric_loss or self.config.enqueue == "all":
            return keys
        draw = uniforms(np.array([self._seed, step, _ENQUEUED_VIEW]), 1)[0]
        return keys[0::2] if draw < 0.5 else keys[1::2]
