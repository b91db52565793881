"""What every method is: batches to a loss, and whatever it keeps up to date between steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastssl.models.backbone import Backbone
from fastssl.optim.optimizer import Groups, split_parameters
from pipelines.batch import Batch
from pipelines.command.errors import UserError


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What a method may know of the run that trains it."""

    seed: int
    total_steps: int
    num_classes: int | None  # None: the data has no classes


class Method(nn.Module, ABC):
    """A loss on batches of views.

    A step is ``forward`` (once for each accumulated part of the batch), backward, the optimizer's step on
    ``student``, then ``after_step``. The trainer enters autocast around ``forward``; losses are float32.

    Attributes:
        student: everything that gradients train; its part ``encoder`` is what is evaluated.
    """

    student: nn.Sequential

    @property
    def encoder(self) -> Backbone:
        """The backbone that the method is for."""
        return cast(Backbone, self.student.encoder)

    @abstractmethod
    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, 0-dim float32, and figures to log: detached 0-dim tensors on the batch's device."""

    def param_groups(self) -> Groups:
        """Trainable parameters in parts, as ``split_parameters`` gives them: weights; norms and biases."""
        return split_parameters(self)

    def schedules(self, step: int) -> dict[str, float]:
        """What the method itself changes from step to step, to be logged; its values in ``step``."""
        return {}

    def after_step(self, step: int) -> None:
        """Bring teacher and queue up to date, once the optimizer has moved the student in ``step``."""


def exactly(batch: Batch, num_views: int, method: str) -> tuple[Tensor, ...]:
    """The batch's views, each [B, 3, S, S].

    Raises:
        UserError: if they are not ``num_views``.
    """
    views = batch.each_view()
    if len(views) != num_views:
        raise UserError(f"{method} needs num_views {num_views}, not {len(views)}: change the view groups")
    return views


def full_precision(tensor: Tensor) -> torch.autocast:
    """A context without autocast on the tensor's device."""
    return torch.autocast(tensor.device.type, enabled=False)


def unit(embeddings: Tensor) -> Tensor:
    """Embeddings [B, D] at length 1, float32."""
    return functional.normalize(embeddings.float(), dim=1)
