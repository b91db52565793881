"""Base of the dense tasks: training as detectron2 has it, SGD by the iteration, norms undecayed."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from torch.nn.modules.batchnorm import _BatchNorm

from fastssl.export.norm_rescale import anchor_of, rescale
from fastssl.models.backbone import Backbone
from fastssl.optim.optimizer import Groups, split_parameters
from fastssl.transfer.network import TransferNetwork
from fastssl.transfer.task import Length, Task
from pipelines.command.errors import UserError
from pipelines.command.ranges import Count, CountOrZero, Counts
from pipelines.dense.view import ResizedView
from pipelines.views import ViewSpec

_WARMUP_START = 1e-3  # share of the peak


@dataclass(frozen=True, kw_only=True)
class DenseTask(Task):
    """Base of the tasks on images of any size, resized by their short side."""

    published_steps: ClassVar[int]
    """Steps of the paper's training."""

    scale: Literal["paper", "small"] = "paper"
    """small: anchors, rates and widths of the head for images of 128 pixels."""
    frozen_norms: bool = False
    """The encoder's batch norms keep their statistics, weights and biases."""
    norm_rescale: str = ""
    """NormRescale ahead of the training: `constant=FACTOR`, or a run or weights whose norms are taken."""
    warmup_steps: CountOrZero = 1000
    """Steps in which the rate rises, from a thousandth."""
    short_sides: Counts = tuple(range(640, 801, 32))
    """Short side of a training image, pixels, one of these by chance."""
    test_short_side: Count = 800
    """Short side of a test image."""
    longest: Count = 1333
    """Longest side of an image, whatever its short side would be."""
    precise_bn: CountOrZero = 200
    """Training batches from which batch norms' statistics are measured anew before the evaluation."""

    def train_view(self, view: ViewSpec) -> ResizedView:
        """See ``Task.train_view``.

        Raises:
            UserError: the encoder does not take RGB.
        """
        if view.color_space != "rgb":
            name = type(self).__name__
            raise UserError(
                f"{name} shows RGB images, and this encoder takes {view.color_space}: give another"
            )
        return ResizedView(short_sides=self.short_sides, longest=self.longest, mean=view.mean, std=view.std)

    def test_view(self, view: ViewSpec) -> ResizedView:
        """See ``Task.test_view``."""
        return ResizedView(
            short_sides=(self.test_short_side,),
            longest=self.longest,
            flip_p=0.0,
            mean=view.mean,
            std=view.std,
        )

    def length(self, images: int) -> Length:
        """The paper's number of steps; an epoch is a pass over the images."""
        return Length(
            steps=self.steps or self.paper_steps(images), steps_per_epoch=max(1, images // self.batch_size)
        )

    def paper_steps(self, images: int) -> int:
        """Steps of the paper's training on so many images."""
        return self.published_steps

    def warmed_up(self, step: int) -> float:
        """Peak rate of a step, with the warm-up."""
        if step >= self.warmup_steps:
            return self.learning_rate
        return self.learning_rate * (_WARMUP_START + (1 - _WARMUP_START) * step / self.warmup_steps)

    def prepared(self, encoder: Backbone) -> Backbone:
        """The encoder that the network copies: the one given, or a copy with other norms."""
        if not self.norm_rescale:
            return encoder
        found = copy.deepcopy(encoder)
        rescale(found, anchor_of(self.norm_rescale), "weights-and-biases")
        return found

    def parameter_parts(self, network: TransferNetwork) -> Groups:
        """Weights and biases as the config has them; norms undecayed, as in detectron2."""
        norms = {
            id(parameter)
            for part in network.modules()
            if isinstance(part, _BatchNorm)
            for parameter in part.parameters(recurse=False)
        }
        parts: Groups = []
        for part in split_parameters(network):
            own = [parameter for parameter in part["params"] if id(parameter) in norms]
            others = [parameter for parameter in part["params"] if id(parameter) not in norms]
            parts += [part | {"params": others}] * bool(others)
            parts += [part | {"params": own, "weight_decay": 0.0}] * bool(own)
        return parts

    def small(self) -> Self:
        """See ``Task.small``."""
        return dataclasses.replace(
            self,
            scale="small",
            short_sides=(32, 48),
            test_short_side=48,
            batch_size=2,
            steps=4,
            warmup_steps=1,
            precise_bn=min(1, self.precise_bn),
        )
