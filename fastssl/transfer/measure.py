"""Evaluation of a network: its predictions of the test images, in all processes, and their metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from fastssl.distributed.collectives import all_gather_objects, any_rank
from fastssl.distributed.dist_env import DistEnv
from fastssl.distributed.precision import AUTOCAST
from fastssl.run.interrupt import Interrupt
from fastssl.transfer.network import Prediction, TransferNetwork
from fastssl.transfer.task import Evaluator
from pipelines.command.progress import show_progress
from pipelines.dense.dense_batch import DenseBatch
from pipelines.dense.loader import DenseLoaderConfig, open_dense_loader
from pipelines.plan.plan import evaluation_plan
from pipelines.sources import Source
from pipelines.sources.subset import Subset
from pipelines.targets import Targets, target_kinds_of, targets_of

SHOWN = 8
"""Test images whose predictions are shown."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """Metrics, and a few predictions."""

    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]]
    shown: list[tuple[int, Prediction]]
    """Indices of test images, with their predictions."""


def measure(
    network: TransferNetwork,
    evaluator: Evaluator,
    loading: DenseLoaderConfig,
    precision: str,
    env: DistEnv,
    interrupt: Interrupt,
) -> Measured | None:
    """Predict all test images, each process a share of them. All processes call.

    Args:
        network: left in the mode that it has.
        evaluator: fresh; takes in this process's predictions.
        loading: source, view, device and so on of the test images; its plan and steps are made here.
        precision: of the passes.
        env: this process.
        interrupt: asks for an early end.

    Returns:
        on rank 0 the metrics over all processes; None where a process was asked to stop.
    """
    source = loading.source
    mine = np.arange(env.rank, len(source.index), env.world_size)
    shown: list[tuple[int, Prediction]] = []
    stopped = False
    was_training = network.training
    network.eval()
    try:
        for batch in _batches(loading, mine) if len(mine) else ():
            with (
                torch.inference_mode(),
                torch.autocast(
                    loading.device.type, AUTOCAST[precision], enabled=AUTOCAST[precision] is not None
                ),
            ):
                predictions = network.predict(batch)
            for index, prediction in zip(mine[batch.indices].tolist(), predictions, strict=True):
                evaluator.add(prediction, original_targets(source, index, loading.with_targets))
                if index < SHOWN:
                    shown.append((index, prediction))
            if stopped := bool(interrupt.signal):
                break
    finally:
        network.train(was_training)
    if any_rank(stopped)[0]:
        return None
    others: Sequence[Evaluator] = all_gather_objects([evaluator])
    shown = sorted(all_gather_objects(shown), key=lambda each: each[0])
    if env.is_main:
        for other in others[1:]:
            evaluator.merge(other)
        return Measured(metrics=evaluator.metrics(), per_class=evaluator.per_class(), shown=shown)
    return Measured(metrics={}, per_class={}, shown=[])


def _batches(loading: DenseLoaderConfig, mine: np.ndarray) -> Iterator[DenseBatch]:
    """This process's test images, once each."""
    plan = evaluation_plan(len(mine), min(loading.plan.batch_size, len(mine)))
    loading = dataclasses.replace(
        loading,
        source=Subset(loading.source, mine),
        plan=plan,
        start_step=0,
        stop_step=plan.batches_per_epoch,
    )
    with open_dense_loader(loading) as batches:
        yield from show_progress(batches, plan.batches_per_epoch, "Measuring: batches")


def original_targets(source: Source, index: int, with_targets: bool = True) -> Targets:
    """Targets of a test image in its own pixels, with its class; without them the class alone."""
    metadata = source.index
    if with_targets and target_kinds_of(source):
        targets = targets_of(source, index)
    else:
        targets = Targets(height=int(metadata.heights[index]), width=int(metadata.widths[index]))
    if metadata.labels is None:
        return targets
    return dataclasses.replace(targets, label=int(metadata.labels[index]))
