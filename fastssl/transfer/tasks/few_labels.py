"""Training on a number of labels, as in the curves of Newell and Deng.

"How useful is self-supervised pretraining for visual tasks?" (2020), section 3 and its public code.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from fastssl.recipes.augmentations import SCENES_LAB
from fastssl.transfer.task import Length, OptimizerName, Task
from pipelines.command.errors import UserError
from pipelines.command.ranges import Count, CountOrZero, NotNegative, Positive
from pipelines.plan.order import keyed_sample
from pipelines.sources import Source
from pipelines.sources.repeated import Repeated
from pipelines.sources.subset import Subset
from pipelines.views import ViewSpec, evaluation_spec

_FEW = 20_000  # labels below which a training is short
_SHORT, _LONG = 200, 600  # epochs
_LEAST = 10_000  # images of an epoch, but for 4,000 labels


@dataclass(frozen=True, kw_only=True)
class FewLabels(Task):
    """Base of the paper's four tasks: a linear head on an encoder, trained on the first of the images."""

    largest_epoch: ClassVar[int]
    """Images of an epoch at most."""
    augmentations: ClassVar[ViewSpec] = SCENES_LAB
    """The paper's, as this task has them."""

    mode: Literal["finetune", "linear", "scratch"] = "finetune"
    """Train all weights, the new head alone, or all from fresh ones."""
    labels: CountOrZero = 0
    """Images to train on, the first of an order that no seed changes; 0: all."""
    epochs: CountOrZero = 0
    """Length of the training; 0: the paper's, 200 with less than 20,000 labels and 600 from there."""
    warmup_epochs: NotNegative = 5.0
    """Epochs in which the rate rises from 0."""
    epoch_images: CountOrZero = 0
    """Images of an epoch; fewer are repeated. 0: the paper's: all, but 10,000 at least (20,000 with 4,000
    labels), and a maximum of the data's."""
    batch_size: Count = 512
    """Images per step, over all processes."""
    optimizer: OptimizerName = "adam"
    """sgd and lars in place of adam."""
    learning_rate: Positive = 1e-3
    """Peak of the learning rate, at this batch size."""
    end_learning_rate: NotNegative = 1e-6
    """The rate that it falls to, straight."""
    size: CountOrZero = 0
    """Side of views, pixels; 0: that of the encoder's own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.end_learning_rate > self.learning_rate:
            raise UserError(
                f"--end-learning-rate {self.end_learning_rate:g} is above --learning-rate "
                f"{self.learning_rate:g}: lower it"
            )

    @property
    def from_scratch(self) -> bool:
        """See ``Task.from_scratch``."""
        return self.mode == "scratch"

    def train_view(self, view: ViewSpec) -> ViewSpec:
        """See ``Task.train_view``."""
        return dataclasses.replace(
            self.augmentations,
            size=self.size or view.size,
            color_space=view.color_space,
            mean=view.mean,
            std=view.std,
        )

    def test_view(self, view: ViewSpec) -> ViewSpec:
        """See ``Task.test_view``."""
        return evaluation_spec(dataclasses.replace(view, size=self.size or view.size), 1.0)

    def training_images(self, source: Source, where: str) -> Source:
        """The first images of a fixed order, repeated where an epoch has more.

        Raises:
            UserError: there are fewer images than labels asked for.
        """
        count = len(source.index)
        if self.labels > count:
            raise UserError(
                f"--labels {self.labels}: {where} has {count} training images: give at most these"
            )
        if self.labels:
            source = Subset(source, keyed_sample("labels", count, self.labels))
        images = self._epoch_images(len(source.index))
        return Repeated(source, images) if len(source.index) < images else source

    def length(self, images: int) -> Length:
        """See ``Task.length``."""
        labels = self.labels or images
        epochs = self.epochs or (_SHORT if labels < _FEW else _LONG)
        steps_per_epoch = max(1, self._epoch_images(labels) // self.batch_size)
        return Length(steps=self.steps or epochs * steps_per_epoch, steps_per_epoch=steps_per_epoch)

    def rate(self, step: int, length: Length) -> float:
        """From 0 to the peak in the warm-up, then straight to the end."""
        warmup = round(self.warmup_epochs * length.steps_per_epoch)
        if step < warmup:
            return self.learning_rate * (step / warmup)
        fall = 1 - self.end_learning_rate / self.learning_rate
        return self.learning_rate * (1 - fall * (step - warmup) / max(1, length.steps - warmup))

    def small(self) -> Self:
        """See ``Task.small``."""
        return dataclasses.replace(
            self,
            labels=12,
            epoch_images=16,
            batch_size=8,
            epochs=2,
            warmup_epochs=1.0,
            size=32,
            learning_rate=4e-3,
        )

    def _epoch_images(self, labels: int) -> int:
        least = 2 * _LEAST if labels == 4000 else _LEAST
        return self.epoch_images or min(self.largest_epoch, max(labels, least))
