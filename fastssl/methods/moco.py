"""MoCo, from v1 to v2+ and its symmetric form: tell the teacher's view of an image from a queue of others'.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning",
2022, sections 3.1 and 4.1 and figure 1. He, Fan, Wu, Xie, Girshick, "Momentum contrast for unsupervised
visual representation learning", 2020 (v1); Chen, Fan, Girshick, He, "Improved baselines with momentum
contrastive learning", 2020 (v2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from fastssl.diagnostics.embeddings import embedding_diagnostics
from fastssl.distributed.collectives import gather
from fastssl.methods.info_nce import check_eqco, draw_keys, info_nce, mutual_information_bound
from fastssl.methods.method import RunFacts, exactly, full_precision, unit
from fastssl.methods.student_teacher import Predictor, StudentTeacher, StudentTeacherConfig
from fastssl.models.backbone import Backbone
from fastssl.models.key_queue import KeyQueue
from fastssl.models.shuffling import forward_shuffled
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.keys import stable_id, uniforms

_ENQUEUED_VIEW = stable_id("moco/enqueued-view")
_KEPT_KEYS = stable_id("moco/kept-keys")


@dataclass(frozen=True, kw_only=True)
class MoCoConfig(StudentTeacherConfig):
    """MoCo. The defaults are those of v2+ of Huang et al., 2022, on ImageNet."""

    num_views: ClassVar[int] = 2

    kind: Literal["moco"] = "moco"
    predictor: Predictor = "student"  # who has one: neither in v1 and v2, the student in v2+, both in S-v2+
    symmetric_loss: bool = True  # both ways; otherwise the student sees view 1 only, and the teacher view 2
    shuffling_bn: bool = False  # the teacher sees images in another order, for norms in groups (v1, v2)
    temperature: float = 0.2  # tau, by which similarities are divided
    num_negatives: int = 65536  # K, the queue's size; below a step's keys: K of them drawn at each step
    eqco_alpha: float | None = None  # the number of negatives that K stand for; None: K, the usual loss
    # keys that join the queue: those of a view drawn at each step (the authors' code), or all (their text);
    # without a symmetric loss there is but one view's
    enqueue: Literal["random_view", "all"] = "random_view"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eqco(self.temperature, self.num_negatives, self.eqco_alpha)
        if self.predictor not in ("none", "student", "both"):
            raise UserError(f"unknown predictor {self.predictor}: none, student or both")
        if self.enqueue not in ("random_view", "all"):
            raise UserError(f"unknown enqueue {self.enqueue}: random_view or all")


class MoCo(StudentTeacher):
    """Loss: L(q1, k2) + L(q2, k1), q the student's and k the teacher's unit vectors of two views.

    The negatives of both terms are the queue as it was before the step. Without ``symmetric_loss`` the first
    term is all.
    """

    def __init__(self, config: MoCoConfig, backbone: Backbone.Config, run: RunFacts) -> None:
        super().__init__(config, backbone, run, config.predictor)
        self.config = config
        self.queue = KeyQueue(config.num_negatives, config.out_dim)
        self._seed = run.seed
        self._shuffling_seeds = [stable_id(f"moco/shuffling/{view}/{run.seed}") for view in range(2)]
        self._pending: list[Tensor] = []  # keys of the step under way; empty between steps

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the batch of the loss; see ``Method.forward``."""
        views = exactly(batch, self.config.num_views, "moco")
        symmetric = self.config.symmetric_loss
        queries = self.queries(views if symmetric else views[:1])
        keys = self._keys(views if symmetric else views[1:], batch.step)
        alpha = self.config.eqco_alpha
        with full_precision(queries[0]):
            logits = [self._logits(q, k) for q, k in zip(queries, reversed(keys), strict=True)]
            losses = [info_nce(*pair, alpha) for pair in logits]
            loss = torch.stack([each.mean() for each in losses]).sum()
        self._pending.extend(gather(k) for k in self._enqueued(keys, step))  # of all processes
        with torch.no_grad():
            positives = torch.cat([positive for positive, _ in logits])
            rivals = torch.cat([negatives.amax(1) for _, negatives in logits])
            mean_loss = loss / len(losses)
            metrics = {
                "loss": loss.detach(),
                "mi_bound": mutual_information_bound(mean_loss, self.config.num_negatives, alpha),
                "positive_similarity": positives.mean() * self.config.temperature,
                "accuracy": (positives > rivals).float().mean(),  # share of queries that find their key
            }
        return loss, metrics | embedding_diagnostics(queries[0], keys[-1], torch.cat(losses), queries)

    def after_step(self, step: int) -> None:
        """Update the teacher; enqueue the step's keys (here, as backward still reads the old queue)."""
        super().after_step(step)
        self.queue.enqueue(self._kept(torch.cat(self._pending), step), step)
        self._pending.clear()

    def _keys(self, views: tuple[Tensor, ...], number: int) -> list[Tensor]:
        if not self.config.shuffling_bn:
            return self.keys(views)
        draws = [(seed, number) for seed in self._shuffling_seeds[: len(views)]]
        return [
            unit(forward_shuffled(self.teacher, view, draw)) for view, draw in zip(views, draws, strict=True)
        ]

    def _logits(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Similarities over temperature: to each query's own key [B], to the queue's [B, K]."""
        queries = queries / self.config.temperature
        return (queries * keys).sum(1), queries @ self.queue.keys.T

    def _kept(self, keys: Tensor, step: int) -> Tensor:
        """All keys of a step, or as many as the queue holds, drawn at random (Zhu et al., 2020, 2.3)."""
        size = self.config.num_negatives
        if len(keys) <= size:
            return keys
        draw = (self._seed, step, _KEPT_KEYS)
        return keys[draw_keys(draw, candidates=len(keys), count=size, device=keys.device)]

    def _enqueued(self, keys: list[Tensor], step: int) -> list[Tensor]:
        if len(keys) == 1 or self.config.enqueue == "all":
            return keys
        draw = uniforms(np.array([self._seed, step, _ENQUEUED_VIEW]), 1)[0]
        return keys[:1] if draw < 0.5 else keys[1:]
