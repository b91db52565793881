"""What MoCo and BYOL share (Huang et al., 2022, figure 1): a student and its slower teacher."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fastssl.methods.method import Method, RunFacts, unit
from fastssl.models.backbone import Backbone, build_backbone
from fastssl.models.heads import mlp
from fastssl.models.teacher import make_teacher, update_teacher
from fastssl.optim.schedules import teacher_momentum
from pipelines.command.errors import UserError

Predictor = Literal["none", "student", "both"]


@dataclass(frozen=True, kw_only=True)
class StudentTeacherConfig:
    """The two networks. The defaults are those of Huang et al., 2022."""

    hidden_dim: int | None = 4096  # of projector and predictor; None: each is a single linear layer
    out_dim: int = 256  # D, of the embeddings
    # a batch norm on the projector's output too, as in SiMo's head: it centres the teacher's embeddings,
    # nearly all alike in an untrained network; a short run cannot wait until training has spread them
    projector_out_norm: bool = False
    head_norm: Literal["batch", "layer", "none"] = "batch"  # of the hidden layers of projector and predictor
    teacher_momentum: float = 0.99  # weight of the old teacher in its update
    teacher_momentum_ascending: bool = True  # to 1 at the end of the run, along half a cosine

    def __post_init__(self) -> None:
        if min(self.out_dim, 1 if self.hidden_dim is None else self.hidden_dim) < 1:
            raise UserError(f"hidden_dim and out_dim must be positive, not {self.hidden_dim}, {self.out_dim}")
        if self.head_norm not in ("batch", "layer", "none"):
            raise UserError(f"unknown head_norm {self.head_norm}: batch, layer or none")
        if not 0 <= self.teacher_momentum <= 1:
            raise UserError(f"teacher_momentum must lie in [0, 1], not {self.teacher_momentum}")


class StudentTeacher(Method):
    """Student: encoder, projector and, with a predictor, that. Teacher: an average of the student's parts.

    Views go through a network one after the other, so that each has batch-norm statistics of its own.
    """

    def __init__(
        self,
        config: StudentTeacherConfig,
        backbone: Backbone.Config,
        run: RunFacts,
        predictor: Predictor = "student",
    ) -> None:
        super().__init__()
        encoder = build_backbone(backbone)
        projector = mlp(encoder.feature_dim, config.hidden_dim, config.out_dim, config.head_norm)
        if config.projector_out_norm:
            projector.append(nn.BatchNorm1d(config.out_dim))
        parts: OrderedDict[str, nn.Module] = OrderedDict(encoder=encoder, projector=projector)
        if predictor != "none":
            parts["predictor"] = mlp(config.out_dim, config.hidden_dim, config.out_dim, config.head_norm)
        self.student = nn.Sequential(parts)
        self.teacher = make_teacher(self.student if predictor == "both" else self.student[:2])
        self._momentum = config.teacher_momentum
        self._ascending = config.teacher_momentum_ascending
        self._total_steps = run.total_steps

    def queries(self, views: tuple[Tensor, ...]) -> list[Tensor]:
        """The student's unit vectors, float32 [B, D], of each view [B, 3, S, S]."""
        return [unit(self.student(view)) for view in views]

    @torch.no_grad()
    def keys(self, views: tuple[Tensor, ...]) -> list[Tensor]:
        """The teacher's unit vectors, float32 [B, D], of each view; no gradient flows through them."""
        return [unit(self.teacher(view)) for view in views]

    def schedules(self, step: int) -> dict[str, float]:
        """The weight of the old teacher in its update."""
        momentum = teacher_momentum(
            step, total_steps=self._total_steps, base=self._momentum, ascending=self._ascending
        )
        return {"teacher_momentum": momentum}

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student."""
        update_teacher(self.teacher, self.student, self.schedules(step)["teacher_momentum"])
