"""The interface of methods: batches to a loss, and whatever is kept up to date between steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal, Self, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastssl.component import Component, ComponentConfig
from fastssl.models.backbone import Backbone, build_backbone
from fastssl.models.heads import Head
from fastssl.optim.optimizer import Groups, split_parameters
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.command.ranges import check_ranges


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Run constants passed to every method."""

    seed: int
    total_steps: int
    num_classes: int | None
    """None: the data has no classes."""
    sample_ids: np.ndarray | None = None
    """int64 [images], of the training images; None: there are none to train on."""


class Method(Component, nn.Module, ABC):
    """Loss on batches of views; made by ``METHOD(config, backbone, run)``.

    A step is ``forward`` (once for each accumulated part of the batch), backward, the optimizer's step on
    ``student``, the update of ``averages``, then ``after_step``. The trainer enters autocast around
    ``forward``; losses are float32.

    Attributes:
        student: everything that gradients train. Its part ``encoder`` is what the method is for, unless the
            method says otherwise (``encoder`` and ``build_encoder``).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(ComponentConfig):
        """Fields and checks of every method.

        Attributes:
            color_space: the one that views should be in; None: any.
        """

        color_space: ClassVar[Literal["lab"] | None] = None

        def __post_init__(self) -> None:
            check_ranges(self, "--method.")

        @property
        def num_views(self) -> int:
            """Views of an image that a step needs: a field, or fixed by the method."""
            raise NotImplementedError

        @property
        def heads(self) -> dict[str, Head.Config]:
            """The student's heads by name, in their order: that of the fields."""
            values = {field.name: getattr(self, field.name) for field in fields(self)}
            return {name: value for name, value in values.items() if isinstance(value, Head.Config)}

        def small(self) -> Self:
            """The same at test size: narrow heads."""
            return replace(self, **{name: head.small() for name, head in self.heads.items()})

        def fitted(self, *, images: int, batch_size: int) -> Self:
            """The same with what must not exceed the data's images or the batch lowered to them."""
            return self

        def warnings(self, images: int) -> Iterator[str]:
            """Sizes that do not suit a number of images, a line each."""
            return iter(())

    student: nn.Sequential

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[Tensor] = []
        """Tensors that ``forward`` leaves to ``after_step``, which clears it; empty between steps."""

    @property
    def repeats(self) -> bool:
        """True if ``forward`` launches the same kernels at every step: the host draws and chooses nothing.

        Only then can a CUDA graph replay it (``fastssl.optim.graphed_step``). False unless a method says
        otherwise.
        """
        return False

    @classmethod
    def build_encoder(cls, config: Config, backbone: Backbone.Config) -> Backbone:
        """A new encoder with the shape of ``encoder``, whose saved weights it can load."""
        return build_backbone(backbone)

    @property
    def encoder(self) -> Backbone:
        """The network that the method is for: it is saved by itself, evaluated and exported."""
        return cast(Backbone, self.student.encoder)

    def of_first_view(self, features: Tensor, images: int) -> Tensor:
        """The first view's features [B, D] in the encoder's first output of a forward pass on B images."""
        return features[:images]

    @abstractmethod
    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, 0-dim float32, and metrics to log: detached 0-dim tensors on the batch's device."""

    def param_groups(self) -> Groups:
        """Trainable parameters in parts, as ``split_parameters`` gives them: weights; norms and biases."""
        return split_parameters(self)

    def schedules(self, step: int) -> dict[str, float]:
        """Values that the method itself changes from step to step, to be logged."""
        return {}

    def averages(self, step: int) -> list[tuple[nn.Module, nn.Module, float]]:
        """Moving averages to update after the optimizer has moved the student in ``step``.

        Returns:
            (target, source, momentum) for each: see ``fastssl.models.teacher.update_averages``.
        """
        return []

    def after_step(self, step: int) -> None:
        """Bring queues and counters up to date, once the optimizer has moved the student in ``step``."""


def expect_views(batch: Batch, num_views: int, method: str) -> tuple[Tensor, ...]:
    """The batch's views, each [B, 3, S, S].

    Raises:
        UserError: they are not ``num_views``.
    """
    views = batch.each_view()
    if len(views) != num_views:
        raise UserError(f"{method} needs num_views {num_views}, not {len(views)}: change the view groups")
    return views


def power_of_two_up_to(number: int) -> int:
    """The largest power of two up to a number; 1 where there is none."""
    return 1 << max(number, 1).bit_length() - 1


def autocast_off(tensor: Tensor) -> torch.autocast:
    """A context without autocast on the tensor's device."""
    return torch.autocast(tensor.device.type, enabled=False)


def full_precision(values: Tensor) -> Tensor:
    """Half precision taken to float32, all else as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def l2_normalize(embeddings: Tensor) -> Tensor:
    """Embeddings [B, D] at length 1, float32."""
    return functional.normalize(embeddings.float(), dim=1)
