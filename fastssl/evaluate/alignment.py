"""Alignment and uniformity of one network's embeddings of two augmented views of the test images.

Wang, Isola (2020), section 4.1; table 3 of the supplement of Moon, Buracas, Park, Kim, Canny, "An
embedding-dynamic approach to self-supervised learning" (2022) compares methods by them. Both views go through
the same network in evaluation mode, whereas the metrics of a training hold a student's embeddings against a
teacher's. That paper does not name its layer; the embeddings that the loss saw are the projector's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastssl.config import Experiment
from fastssl.evaluate.features import encode, open_views, require_finite
from fastssl.evaluate.protocol import Protocol
from fastssl.evaluate.saved_run import SavedRun, saved_run
from fastssl.evaluate.subject import Subject
from fastssl.metrics.uniformity import alignment, uniformity
from pipelines.command.errors import UserError
from pipelines.command.progress import show_progress
from pipelines.command.ranges import Count
from pipelines.plan.order import keyed_sample
from pipelines.plan.plan import evaluation_plan
from pipelines.sources.subset import Subset
from pipelines.views import ViewGroup


@dataclass(frozen=True, kw_only=True)
class Alignment(Protocol):
    """Alignment and uniformity of two augmented views of the test images; labels are not read."""

    several_classes: ClassVar[bool] = True

    layer: Literal["projector", "encoder"] = "projector"
    """Embeddings of the projector, or features of the encoder."""
    images: Count = 4096
    """Most test images taken, drawn by key."""
    seed: int = 0
    """Random seed for the choice of images and for their views."""

    def measure(self, subject: Subject) -> dict[str, Any]:
        """``alignment`` (mean squared distance, in [0, 4]) and ``uniformity``, of unit vectors.

        The views are drawn from the first two specifications of the run's training; ``uniformity`` is that
        of the first.
        """
        run = saved_run(subject, "alignment", "views and projector")
        network = subject.encoder if self.layer == "encoder" else _with_projector(run)
        first, second = self._pairs(subject, network, training_views(run.experiment))
        require_finite(torch.stack([first, second]), f"alignment: embeddings of {run.path}")
        return {
            "alignment": float(alignment(first, second)),
            "uniformity": float(uniformity(first)),
            "settings": {"images": len(first), "dim": first.shape[1]},
        }

    def _pairs(
        self, subject: Subject, network: nn.Module, groups: tuple[ViewGroup, ...]
    ) -> tuple[Tensor, Tensor]:
        """Unit vectors float32 [N, D] of the first and of the second view of each image."""
        config, test = subject.feature_config, subject.data.test
        count = len(test.index)
        if count < 2:
            raise UserError("alignment: there is one test image, and uniformity needs two: give more")
        chosen = keyed_sample("alignment", count, self.images, seed=self.seed)
        part = Subset(test, np.sort(chosen))
        plan = replace(evaluation_plan(len(chosen), min(config.batch_size, len(chosen))), seed=self.seed)
        network = network.to(config.device).to(memory_format=torch.channels_last).eval()
        rows: tuple[list[Tensor], list[Tensor]] = ([], [])
        with (
            open_views(part, config, plan, plan.batches_per_epoch, groups) as loader,
            torch.inference_mode(),
        ):
            for batch in show_progress(loader, plan.batches_per_epoch, "alignment: test images"):
                for found, view in zip(rows, batch.each_view(), strict=True):
                    found.append(functional.normalize(encode(network, view, config), dim=1).cpu())
        return torch.cat(rows[0]), torch.cat(rows[1])


def training_views(experiment: Experiment) -> tuple[ViewGroup, ...]:
    """Two views of a run's training: its first two; of a run with one, that one twice."""
    specs = [group.spec for group in experiment.views for _ in range(group.num_views)]
    first, second = (specs * 2)[:2]
    if first == second:
        return (ViewGroup(spec=first, num_views=2),)
    return ViewGroup(spec=first), ViewGroup(spec=second)


def _with_projector(run: SavedRun) -> nn.Module:
    """Encoder and projector of a run's student, [B, 3, S, S] to [B, D].

    Raises:
        UserError: its method has no projector.
    """
    experiment = run.experiment
    kind = experiment.method.kind
    if not hasattr(experiment.method, "projector"):
        raise UserError(f"alignment: {kind} ({run.path}) has no projector: add --layer encoder")
    student: Any = run.build().student
    return nn.Sequential(student.encoder, student.projector)
