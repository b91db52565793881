"""SiMo: MoCo without a queue, its negatives the teacher's keys of the same batch.

Zhu, Huang, Li, Zhang, Sun, "EqCo: equivalent rules for self-supervised contrastive learning" (2020),
section 3.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from fastssl.diagnostics.embeddings import embedding_diagnostics
from fastssl.distributed.collectives import first_row, gather, world_size
from fastssl.methods.info_nce import check_eqco, info_nce, mutual_information_bound, negative_columns
from fastssl.methods.method import Method, RunFacts, exactly, full_precision, unit
from fastssl.models.backbone import Backbone, build_backbone
from fastssl.models.heads import projection_head
from fastssl.models.shuffling import forward_shuffled
from fastssl.models.teacher import make_teacher, update_teacher
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.keys import stable_id

_NEGATIVES = stable_id("simo/negatives")


@dataclass(frozen=True, kw_only=True)
class SiMoConfig:
    """SiMo. The defaults are the paper's on ImageNet, batch 256; its backbone has zero_init_residual."""

    num_views: ClassVar[int] = 2

    kind: Literal["simo"] = "simo"
    hidden_dim: int = 2048  # of the projector: as wide as a ResNet-50's features
    out_dim: int = 128  # D, of the embeddings
    temperature: float = 0.2  # tau, by which similarities are divided (MoCo v2's)
    num_negatives: int = 256  # K, drawn for each query; the whole batch N stands for its N - 1 others
    eqco_alpha: float | None = 256  # the number of negatives that K stand for; None: K, the usual loss
    teacher_momentum: float = 0.999  # beta, weight of the old teacher in its update
    shuffling_bn: bool = False  # the teacher sees images in another order, for norms in groups (table 4)

    def __post_init__(self) -> None:
        if min(self.hidden_dim, self.out_dim) < 1:
            raise UserError(f"hidden_dim and out_dim must be positive, not {self.hidden_dim}, {self.out_dim}")
        if not 0 <= self.teacher_momentum <= 1:
            raise UserError(f"teacher_momentum must lie in [0, 1], not {self.teacher_momentum}")
        check_eqco(self.temperature, self.num_negatives, self.eqco_alpha)

    def negatives_among(self, images: int) -> int:
        """K of each query of a batch of so many images: all of them stand for the N - 1 others.

        Raises:
            UserError: there are fewer.
        """
        if self.num_negatives > images:
            raise UserError(
                f"simo: num_negatives {self.num_negatives} but the batch holds {images} images: "
                "lower num_negatives, or raise the batch or lower the accumulation steps"
            )
        return min(self.num_negatives, images - 1)


class SiMo(Method):
    """Loss: the mean of InfoNCE over the student's first views; keys are the teacher's second views.

    Each query draws its own negatives, where the authors' code draws one set of offsets for all queries: by
    the paper's remark 2, sharing makes little difference. Of several processes each asks its own images'
    queries, among the keys of all.
    """

    def __init__(self, config: SiMoConfig, backbone: Backbone.Config, run: RunFacts) -> None:
        super().__init__()
        self.config = config
        self._seed = run.seed
        self._shuffling_seed = stable_id(f"simo/shuffling/{run.seed}")
        encoder = build_backbone(backbone)
        projector = projection_head(encoder.feature_dim, config.hidden_dim, config.out_dim)
        self.student = nn.Sequential(OrderedDict(encoder=encoder, projector=projector))
        self.teacher = make_teacher(self.student)

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the batch's images; see ``Method.forward``."""
        first, second = exactly(batch, self.config.num_views, "simo")
        images, own = len(batch) * world_size(), first_row(len(batch))
        num_negatives = self.config.negatives_among(images)
        queries = unit(self.student(first))
        keys = self._keys(second, batch.step)
        columns = negative_columns(
            (self._seed, batch.step, _NEGATIVES),
            views=1,
            images=images,
            count=num_negatives,
            own=range(own, own + len(batch)),
            device=queries.device,
        )
        with full_precision(queries):
            similarities = queries @ gather(keys).T / self.config.temperature
            positive, negatives = similarities.diagonal(own), similarities.gather(1, columns)
            losses = info_nce(positive, negatives, self.config.eqco_alpha)
            loss = losses.mean()
        with torch.no_grad():
            metrics = {
                "loss": loss.detach(),
                "mi_bound": mutual_information_bound(loss, num_negatives, self.config.eqco_alpha),
                "positive_similarity": positive.mean() * self.config.temperature,
                "accuracy": (positive > negatives.amax(1)).float().mean(),
            }
        return loss, metrics | embedding_diagnostics(queries, keys, losses, [queries])

    def schedules(self, step: int) -> dict[str, float]:
        """The weight of the old teacher in its update: beta."""
        return {"teacher_momentum": self.config.teacher_momentum}

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student; with beta 0 it becomes the student."""
        update_teacher(self.teacher, self.student, self.config.teacher_momentum)

    @torch.no_grad()
    def _keys(self, view: Tensor, loader_step: int) -> Tensor:
        if self.config.shuffling_bn:
            outputs = forward_shuffled(self.teacher, view, (self._shuffling_seed, loader_step))
        else:
            outputs = self.teacher(view)
        return unit(outputs)
