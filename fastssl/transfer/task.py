"""A task: how an encoder is transferred, and measured by it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from fastssl.models.backbone import Backbone
from fastssl.transfer.network import TransferNetwork
from fastssl.transfer.prediction import Prediction
from pipelines.command.ranges import check_ranges
from pipelines.targets import TargetKind, Targets


class Evaluator(ABC):
    """Takes predictions in, image by image, and gives metrics."""

    @abstractmethod
    def add(self, prediction: Prediction, targets: Targets) -> None:
        """Take one image in; targets are in the pixels of the original image."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """Metrics by name, fractions of 1 (``AP``, ``AP50``, ``mIoU``) unless their names tell a unit."""


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """Base of the tasks. The fields of a task are its options, each with a default."""

    needs: ClassVar[frozenset[TargetKind]] = frozenset()
    """Kinds of targets without which it cannot be trained."""

    def __post_init__(self) -> None:
        check_ranges(self)

    @abstractmethod
    def network(self, encoder: Backbone, class_names: Sequence[str]) -> TransferNetwork:
        """The network before its first step: a copy of the encoder, and a head of fresh weights."""

    @abstractmethod
    def evaluator(self, class_names: Sequence[str]) -> Evaluator:
        """An evaluator of one pass over the test images."""

    def settings(self) -> dict[str, Any]:
        """The task's options as they go into the result."""
        return dict(vars(self))
