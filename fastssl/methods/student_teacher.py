"""Student and teacher networks, shared by MoCo, BYOL, MSBReg and SiMo (Huang et al., 2022, figure 1)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from fastssl.component import ExperimentFields
from fastssl.methods.method import Method, RunFacts, l2_normalize
from fastssl.models.backbone import Backbone
from fastssl.models.heads import Head
from fastssl.models.shuffling import forward_shuffled
from fastssl.models.teacher import Teacher
from fastssl.optim.schedules import teacher_momentum
from pipelines.command.errors import UserError
from pipelines.keys import stable_id


class StudentTeacher(Method):
    """Student: encoder, projector and, with some methods, predictor. Teacher: an average of its parts.

    Each view has batch-norm statistics of its own.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        """The two networks. The defaults are those of Huang et al., 2022."""

        projector: Head.Config = Head.Config()
        """Head of both networks."""
        teacher: Teacher.Config = Teacher.Config()
        """Moving average of the student."""

        def check(self, experiment: ExperimentFields) -> None:
            """Check that queries meet keys as wide as they are, and that shuffling BN has groups to shuffle.

            Raises:
                UserError: they do not, or it has none.
            """
            super().check(experiment)
            widths = {name: head.out_dim for name, head in self.heads.items()}
            if len(set(widths.values())) > 1:
                options = " and ".join(f"--method.{name}.out-dim {width}" for name, width in widths.items())
                raise UserError(f"{self.kind}'s heads must give embeddings of one width, not {options}")
            if self.teacher.shuffling_bn and experiment.batch_norm_group is None:
                raise UserError(
                    "shuffling BN changes nothing where a whole batch shares its statistics: "
                    "set --batch-norm-group, to 32 for instance"
                )

        def small(self) -> Self:
            """Narrow heads and a quick teacher; with batch norms, one more on the projector's output."""
            small = super().small()
            projector = small.projector
            if projector.norm == "batch":
                projector = replace(projector, out_norm="batch")
            return replace(small, projector=projector, teacher=self.teacher.small())

    config: Config
    shuffles = "{kind}/shuffling/{view}/{seed}"  # names the draws of shuffling BN

    def __init__(
        self, config: Config, backbone: Backbone.Config, run: RunFacts, *, teacher_heads: int = 1
    ) -> None:
        super().__init__()
        self.config = config
        encoder = self.build_encoder(config, backbone)
        parts: OrderedDict[str, nn.Module] = OrderedDict(encoder=encoder)
        in_dim = encoder.feature_dim
        for name, head in config.heads.items():
            parts[name] = Head(in_dim, head)
            in_dim = head.out_dim
        self.student = nn.Sequential(parts)
        self.teacher = Teacher.of(self.student[: 1 + teacher_heads])
        self._seed, self._total_steps = run.seed, run.total_steps

    def queries(self, views: tuple[Tensor, ...]) -> list[Tensor]:
        """The student's unit vectors, float32 [B, D], of each view [B, 3, S, S]."""
        return [l2_normalize(self.student(view)) for view in views]

    @torch.no_grad()
    def keys(self, views: tuple[Tensor, ...], loader_step: int) -> list[Tensor]:
        """The teacher's unit vectors, float32 [B, D], of each view; no gradient flows through them.

        Args:
            views: [B, 3, S, S] each.
            loader_step: the batch's step of the loader; keys the draw of shuffling BN.
        """
        if not self.config.teacher.shuffling_bn:
            return [l2_normalize(self.teacher(view)) for view in views]
        names = [
            self.shuffles.format(kind=self.config.kind, view=i, seed=self._seed) for i in range(len(views))
        ]
        return [
            l2_normalize(forward_shuffled(self.teacher, view, (stable_id(name), loader_step)))
            for view, name in zip(views, names, strict=True)
        ]

    def schedules(self, step: int) -> dict[str, float]:
        """The weight of the old teacher in its update."""
        teacher = self.config.teacher
        momentum = teacher_momentum(
            step, total_steps=self._total_steps, base=teacher.momentum, ascending=teacher.ascending
        )
        return {"teacher_momentum": momentum}

    def averages(self, step: int) -> list[tuple[nn.Module, nn.Module, float]]:
        """The teacher follows the student."""
        return [(self.teacher, self.student, self.schedules(step)["teacher_momentum"])]
