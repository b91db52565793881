"""MoCo v2+: tell the teacher's view of an image from a queue of other images'.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning",
2022, section 3.1 and figure 1c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from fastssl.backbones import BackboneConfig
from fastssl.methods.info_nce import check_eqco, draw_keys, info_nce, mutual_information_bound
from fastssl.methods.key_queue import KeyQueue
from fastssl.methods.method import RunFacts, exactly, full_precision
from fastssl.methods.student_teacher import StudentTeacher, StudentTeacherConfig, feature_std
from pipelines.batch import Batch
from pipelines.errors import UserError
from pipelines.keys import stable_id, uniforms

_ENQUEUED_VIEW = stable_id("moco/enqueued-view")
_KEPT_KEYS = stable_id("moco/kept-keys")


@dataclass(frozen=True, kw_only=True)
class MoCoConfig(StudentTeacherConfig):
    """MoCo v2+. The defaults are those of Huang et al., 2022, on ImageNet."""

    num_views: ClassVar[int] = 2

    kind: Literal["moco"] = "moco"
    temperature: float = 0.2  # tau, by which similarities are divided
    queue_size: int = 65536  # K, negatives of each query; below a step's keys: K of them drawn at each step
    eqco_alpha: float | None = None  # the number of negatives that K stand for; None: K, the usual loss
    # keys that join the queue: those of a view drawn at each step (the authors' code), or all (their text)
    enqueue: Literal["random_view", "all"] = "random_view"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queue_size < 1:
            raise UserError(f"queue_size must be at least 1, not {self.queue_size}")
        check_eqco(self.temperature, self.queue_size, self.eqco_alpha)
        if self.enqueue not in ("random_view", "all"):
            raise UserError(f"unknown enqueue {self.enqueue}: random_view or all")


class MoCo(StudentTeacher):
    """Loss: L(q1, k2) + L(q2, k1), q the student's and k the teacher's unit vectors of two views.

    The negatives of both terms are the queue as it was before the step.
    """

    def __init__(self, config: MoCoConfig, backbone: BackboneConfig, run: RunFacts) -> None:
        super().__init__(config, backbone, run)
        self.config = config
        self.queue = KeyQueue(config.queue_size, config.out_dim)
        self._seed = run.seed
        self._pending: list[Tensor] = []  # keys of the step under way; empty between steps

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the batch of the symmetric loss; see ``Method.forward``."""
        views = exactly(batch, self.config.num_views, "moco")
        q1, q2 = self.queries(views)
        k1, k2 = self.keys(views)
        with full_precision(q1):
            first, second = self._logits(q1, k2), self._logits(q2, k1)
            alpha = self.config.eqco_alpha
            loss = info_nce(*first, alpha).mean() + info_nce(*second, alpha).mean()
        self._pending.extend(self._enqueued(k1, k2, step))
        with torch.no_grad():
            positives = torch.cat([first[0], second[0]])
            rivals = torch.cat([first[1].amax(1), second[1].amax(1)])
            metrics = {
                "loss": loss.detach(),
                "mi_bound": mutual_information_bound(loss / 2, self.config.queue_size, alpha),
                "positive_similarity": positives.mean() * self.config.temperature,
                "accuracy": (positives > rivals).float().mean(),  # share of queries that find their key
                "feature_std": feature_std(q1),
            }
        return loss, metrics

    def after_step(self, step: int) -> None:
        """Update the teacher; enqueue the step's keys (here, as backward still reads the old queue)."""
        super().after_step(step)
        self.queue.enqueue(self._kept(torch.cat(self._pending), step), step)
        self._pending.clear()

    def _logits(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Similarities over temperature: to each query's own key [B], to the queue's [B, K]."""
        queries = queries / self.config.temperature
        return (queries * keys).sum(1), queries @ self.queue.keys.T

    def _kept(self, keys: Tensor, step: int) -> Tensor:
        """All keys of a step, or as many as the queue holds, drawn at random (Zhu et al., 2020, 2.3)."""
        size = self.config.queue_size
        if len(keys) <= size:
            return keys
        draw = (self._seed, step, _KEPT_KEYS)
        return keys[draw_keys(draw, candidates=len(keys), count=size, device=keys.device)]

    def _enqueued(self, k1: Tensor, k2: Tensor, step: int) -> tuple[Tensor, ...]:
        if self.config.enqueue == "all":
            return k1, k2
        draw = uniforms(np.array([self._seed, step, _ENQUEUED_VIEW]), 1)[0]
        return (k1,) if draw < 0.5 else (k2,)
