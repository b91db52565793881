"""Probes on any method: classifiers of the labels that are trained beside it, and change nothing of it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fastssl.methods.method import Method
from fastssl.models.probes import Probes
from pipelines.batch import Batch
from pipelines.command.errors import UserError


def add_probes(method: Method, num_classes: int | None) -> None:
    """Give a method ``probes`` on its encoder's features of the first view, in place.

    They are part of it from now on: of its state, of its parameters and, with weight 1, of its loss. The
    ``loss`` that it logs stays its own. Features are those of its own forward pass; nothing is encoded twice.

    Args:
        method: just built.
        num_classes: number of classes of the data; None without labels.

    Raises:
        UserError: there are no labels.
    """
    if num_classes is None:
        raise UserError("--probes needs classes: give data with one folder for each class, or leave it out")
    probes = method.probes = Probes(method.encoder.feature_dim, num_classes)
    seen: list[Tensor] = []  # the encoder's first output since the method's forward pass began

    def begin(_method: Any, _inputs: Any) -> None:
        seen.clear()

    def keep(_encoder: Any, _inputs: Any, features: Tensor) -> None:
        if not seen:
            seen.append(features.detach())

    def add(_method: Any, inputs: tuple[Batch, int], output: tuple[Tensor, dict[str, Tensor]]) -> Any:
        batch, (loss, metrics) = inputs[0], output
        if batch.labels is None:
            raise UserError("--probes needs labels: give data with one folder for each class")
        features = method.of_first_view(seen.pop(), len(batch))
        probe_loss, probe_metrics = probes(features, batch.labels)
        return loss + probe_loss, metrics | probe_metrics

    method.register_forward_pre_hook(begin)
    method.encoder.register_forward_hook(keep)
    method.register_forward_hook(add)
