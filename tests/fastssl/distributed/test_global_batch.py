"""Two processes with half of every batch each do what one does with all of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from fastssl.distributed.collectives import first_row, world_size
from fastssl.models.batch_norm import average_statistics, group_batch_norms
from pipelines.batch import Batch
from tests.helpers.batches import make_batch, tiny_method
from tests.helpers.gloo_processes import in_processes
from tests.helpers.methods import CASES, Case, finish_step, networks

Records = list[dict[str, dict[str, Tensor]]]  # of each step: its metrics, gradients and state

WORLD, PARTS, STEPS = 2, 2, 2


def own_share(batch: Batch) -> Batch:
    """This process's images of a global batch."""
    count = len(batch) // world_size()
    rows = slice(first_row(count), first_row(count) + count)
    assert batch.labels is not None
    views = torch.cat([view[rows] for view in batch.each_view()]).double()
    return replace(batch, views=(views,), sample_ids=batch.sample_ids[rows], labels=batch.labels[rows])


def mean_over_processes(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """What DDP does with gradients; in place."""
    if world_size() > 1:
        flat = torch.cat([value.flatten() for value in values.values()])
        dist.all_reduce(flat)
        parts = (flat / world_size()).split([value.numel() for value in values.values()])
        for value, part in zip(values.values(), parts, strict=True):
            value.copy_(part.view_as(value))
    return values


def train(case: Case) -> Records:
    """A few steps of accumulated parts; for each its metrics (sums over parts), gradients and state.

    The networks are float64, so that no rounding puts a value on another side of a ReLU or a maximum.
    """
    method = tiny_method(case.config)
    for network in networks(method):
        network.double()
    group_batch_norms(method, case.images_per_group, case.images)
    optimizer = torch.optim.SGD(method.student.parameters(), lr=0.02, momentum=0.9)
    records = []
    for step in range(STEPS):
        sums: dict[str, Tensor] = {}
        for loader_step in range(PARTS * step, PARTS * (step + 1)):
            batch = own_share(make_batch(loader_step, size=case.images, views=case.config.num_views))
            loss, metrics = method(batch, step)
            (loss / PARTS).backward()
            for name, value in metrics.items():
                sums[name] = sums.get(name, torch.zeros(())) + value
        weights = dict(method.student.named_parameters())
        gradients = {name: weight.grad for name, weight in weights.items() if weight.grad is not None}
        assert gradients.keys() == weights.keys()
        mean_over_processes(gradients)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        finish_step(method, step)
        average_statistics(method)
        state = {name: value.clone() for name, value in method.state_dict().items()}
        records.append({"metrics": mean_over_processes(sums), "gradients": gradients, "state": state})
    return records


def work() -> dict[str, Records]:
    """Train each method, in one of the two processes."""
    return {name: train(case) for name, case in CASES.items()}


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Records]]:
    """What each of the two processes found."""
    return in_processes(WORLD, __name__, tmp_path_factory.mktemp("processes"))


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].shape == value.shape, name
        difference = (ours[name].double() - value.double()).abs()
        # losses are float32: gradients of up to 20 differ by some 1e-6
        assert (difference <= 1e-5 + 1e-4 * value.abs()).all(), (name, ours[name], value)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one(name: str, of_two_processes: list[dict[str, Records]]) -> None:
    alone = train(CASES[name])
    for found in of_two_processes:
        for ours, theirs in zip(found[name], alone, strict=True):
            for kind in ("metrics", "gradients", "state"):
                assert_close(ours[kind], theirs[kind])
