"""Precise BN: batch norm statistics of the weights as they are, for evaluation (Wu and Johnson, 2021)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from fastssl.distributed.collectives import rank
from fastssl.models.batch_norm import average_statistics
from fastssl.transfer.network import TransferNetwork
from pipelines.dense.dense_batch import DenseBatch
from pipelines.keys import stable_id


@contextmanager
def precise_statistics(
    network: TransferNetwork, batches: Iterable[DenseBatch], *, seed: int = 0
) -> Iterator[None]:
    """Give batch norms, while the context lasts, the means over batches of their statistics.

    Each batch has the same weight, as in fvcore's ``update_bn_stats``. Afterwards the running statistics are
    those before, so that an evaluation changes nothing in the training around it.

    Args:
        network: in any mode, which it keeps. With several processes all of them call.
        batches: training batches, at least one.
        seed: of draws from torch's global generator (samples of anchors), made per batch and rank.
    """
    norms = [part for part in network.modules() if isinstance(part, _BatchNorm)]
    kept = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    momenta, training = [norm.momentum for norm in norms], network.training
    try:
        network.train()
        for norm in norms:
            norm.momentum = 1.0  # running statistics become those of the last batch
        means = _means(network, norms, batches, seed)
        network.train(training)
        for norm, mean in zip(norms, means, strict=True):
            _set(norm, mean)
        yield
    finally:
        network.train(training)
        for norm, values, momentum in zip(norms, kept, momenta, strict=True):
            _set(norm, values)
            norm.momentum = momentum


@torch.no_grad()
def _means(
    network: TransferNetwork, norms: Sequence[_BatchNorm], batches: Iterable[DenseBatch], seed: int
) -> list[dict[str, Tensor]]:
    """Mean over the batches of each norm's statistics, by name."""
    means: list[dict[str, Tensor]] = [{} for _ in norms]
    for index, batch in enumerate(batches):
        torch.manual_seed(stable_id(f"precise-bn/{seed}/{index}/{rank()}"))
        network.losses(batch)
        average_statistics(network)
        for norm, mean in zip(norms, means, strict=True):
            for name, value in (("running_mean", norm.running_mean), ("running_var", norm.running_var)):
                assert value is not None
                mean[name] = value.clone() if index == 0 else mean[name].lerp(value, 1 / (index + 1))
    return means


@torch.no_grad()
def _set(norm: _BatchNorm, values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        norm.get_buffer(name).copy_(value)
