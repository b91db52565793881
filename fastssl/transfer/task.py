"""A task: how an encoder is transferred, and measured by it."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np

from fastssl.models.backbone import Backbone
from fastssl.optim import LARS, SGD, Adam, Optimizer
from fastssl.optim.optimizer import Groups, split_parameters
from fastssl.transfer import TASKS
from fastssl.transfer.network import Prediction, TransferNetwork
from pipelines.command.errors import UserError
from pipelines.command.ranges import Count, CountOrZero, NotNegative, Positive, check_ranges
from pipelines.command.suggest import suggest
from pipelines.sources import Source
from pipelines.targets import TargetKind, Targets
from pipelines.views import ViewSpec

OptimizerName = Literal["sgd", "lars", "adam"]


class Evaluator(ABC):
    """Takes predictions in, image by image, and gives metrics."""

    @abstractmethod
    def add(self, prediction: Prediction, targets: Targets) -> None:
        """Take one image in; targets are in the pixels of the original image."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """Metrics by name, fractions of 1 (``AP``, ``AP50``, ``mIoU``) unless their names tell a unit.

        A metric that nothing was given for is left out: ``APs`` without a small object.
        """

    def per_class(self) -> dict[str, dict[str, float]]:
        """Metrics by class name, of the classes that occur."""
        return {}

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Take in what another evaluator of its kind was given, for instance one unpickled from rank 1."""


def needed(part: np.ndarray | None, name: str) -> np.ndarray:
    """A part of predictions or targets without which a metric means nothing.

    Raises:
        ValueError: it is None: the network or the source gives none.
    """
    if part is None:
        raise ValueError(f"no {name} to measure")
    return part


@dataclass(frozen=True, kw_only=True)
class Length:
    """Length of a training."""

    steps: int
    """Steps in all."""
    steps_per_epoch: int
    """Steps of an epoch as the schedule counts them."""


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """Base of the tasks. The fields of a task are its options, each with a default: its paper's setting."""

    needs: ClassVar[frozenset[TargetKind]] = frozenset()
    """Kinds of targets without which it cannot be trained."""
    needs_labels: ClassVar[bool] = False
    """True where each image must have a class."""
    least_classes: ClassVar[int] = 1
    """Classes that the data must have."""
    leading: ClassVar[str]
    """The metric that is shown while it runs, and that a learning rate is chosen by."""
    lower_is_better: ClassVar[bool] = False
    """True where that metric is an error."""
    paper: ClassVar[Mapping[str, Mapping[str, float]]] = {}
    """Metrics that a paper states for these settings, by the encoder's name there."""

    steps: CountOrZero = 0
    """Steps of the training; 0: the paper's number of them."""
    batch_size: Count = 16
    """Images per step, over all processes."""
    optimizer: OptimizerName = "sgd"
    """lars and adam in place of sgd; lars leaves norms and biases undecayed and unadapted."""
    learning_rate: Positive = 0.02
    """Peak of the learning rate, at this batch size."""
    weight_decay: NotNegative = 1e-4
    """Coefficient of the L2 penalty."""
    clip_grad_norm: NotNegative = 0.0
    """Largest norm of the gradient, which is scaled down to it; 0: as it is."""
    batch_norm_group: CountOrZero = 0
    """Images that share batch-norm statistics (`fastssl.models.batch_norm`); 0: all of a batch."""
    precise_bn: CountOrZero = 0
    """Training batches from which batch norms' statistics are measured anew before an evaluation."""
    seed: CountOrZero = 0
    """Random seed for fresh weights, sample order and views."""

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def from_scratch(self) -> bool:
        """True where training starts from fresh weights, whatever encoder is given."""
        return False

    @abstractmethod
    def train_view(self, view: ViewSpec) -> Any:
        """The views to train on: a ``ViewSpec`` or ``pipelines.dense.view.ResizedView``.

        Args:
            view: the encoder's own view of a test image: its size, color space and normalization.
        """

    @abstractmethod
    def test_view(self, view: ViewSpec) -> Any:
        """The view of a test image, likewise."""

    @abstractmethod
    def network(self, encoder: Backbone, class_names: Sequence[str]) -> TransferNetwork:
        """The network before its first step: a copy of the encoder, and a head of fresh weights.

        Fresh weights are drawn from torch's global generator.
        """

    @abstractmethod
    def evaluator(self, class_names: Sequence[str]) -> Evaluator:
        """An evaluator of one pass over the test images."""

    @abstractmethod
    def length(self, images: int) -> Length:
        """Length of the training on so many images."""

    @abstractmethod
    def rate(self, step: int, length: Length) -> float:
        """Learning rate of a step, from 0."""

    @abstractmethod
    def small(self) -> Self:
        """The same in seconds on a CPU, with a narrow encoder and small images: for tests."""

    def class_names(self, source: Source) -> tuple[str, ...]:
        """Names of the classes that are predicted."""
        return source.index.class_names

    def training_images(self, source: Source, where: str) -> Source:
        """The images of an epoch.

        Raises:
            UserError: they are unfit.
        """
        return source

    def parameter_parts(self, network: TransferNetwork) -> Groups:
        """Parameters that are trained, in the form of ``split_parameters``."""
        return split_parameters(network)

    def optimizer_config(self) -> Optimizer.Config:
        """Config of the optimizer; rates are ``rate``'s."""
        decay = self.weight_decay
        if self.optimizer == "lars":
            return LARS.Config(weight_decay=decay, exclude_norm_and_bias=True)
        return Adam.Config(weight_decay=decay) if self.optimizer == "adam" else SGD.Config(weight_decay=decay)


def find_task(name: str) -> type[Task]:
    """The class of a task, imported now.

    Raises:
        UserError: there is none of that name, or a package that it needs is missing or broken.
    """
    if name not in TASKS:
        hint = suggest(name, TASKS, otherwise="python -m fastssl.transfer --help tells more")
        raise UserError(f"no task {name!r}: choose among {', '.join(TASKS)}; {hint}")
    module, _, kind = TASKS[name].partition(":")
    try:
        found: type[Task] = getattr(importlib.import_module(module), kind)
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"the task {name} cannot be loaded ({reason}): install what it needs, or choose another"
        ) from None
    return found
