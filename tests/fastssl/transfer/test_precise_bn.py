"""Precise BN: means over batches, and nothing left of them afterwards."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fastssl.transfer.network import Prediction, TransferNetwork
from fastssl.transfer.precise_bn import precise_statistics
from pipelines.dense.dense_batch import DenseBatch
from tests.helpers.dense_batches import dense_batch


class Norm(TransferNetwork):
    """A batch norm of the images, some of whose values are dropped by torch's generator."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.dropout, self.drawn = nn.BatchNorm2d(3), nn.Dropout(), torch.zeros(0)

    def losses(self, batch: DenseBatch) -> dict[str, Tensor]:
        self.drawn = self.dropout(torch.ones(50))
        return {"loss": self.norm(batch.images).sum()}

    def predict(self, batch: DenseBatch) -> list[Prediction]:
        raise NotImplementedError


def test_statistics_are_means_over_batches_while_it_lasts() -> None:
    network: Any = Norm().double()
    nn.init.uniform_(network.norm.running_mean)
    before = copy.deepcopy(network.state_dict())
    batches = [dense_batch(seed=seed) for seed in range(3)]
    batches = [replace(batch, images=batch.images.double()) for batch in batches]
    expected = [torch.var_mean(batch.images, (0, 2, 3)) for batch in batches]
    variance, mean = (torch.stack(each).mean(0) for each in zip(*expected, strict=True))
    drawn = []
    for training in (False, True):
        network.train(training)
        torch.manual_seed(training)
        with precise_statistics(network, batches):
            assert network.training == training
            torch.testing.assert_close(network.norm.running_mean, mean)
            torch.testing.assert_close(network.norm.running_var, variance)
            drawn.append(network.drawn)
        assert network.norm.momentum == 0.1
        assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(*drawn)
