"""Two processes with half of every batch each do what one does with all of it, also with stacked views."""

from __future__ import annotations

from collections.abc import Mapping
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
from tests.helpers.methods import CASES, VIEWS_APART, Case, finish_step, networks

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


def train(case: Case, *, stacked: bool = False) -> Records:
    """A few steps of accumulated parts; for each its metrics (sums over parts), gradients and state.

    The networks are float64, so that no rounding puts a value on another side of a ReLU or a maximum.
    """
    method = tiny_method(case.config)
    for network in networks(method):
        network.double()
    group_batch_norms(method, case.images_per_group, case.images)
    if stacked:
        method.stack_views()
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


def work() -> dict[str, dict[str, Records]]:
    """Train each method, in one of the two processes: view by view, and with stacked views where it can."""
    return {
        "apart": {name: train(case) for name, case in CASES.items()},
        "stacked": {name: train(case, stacked=True) for name, case in VIEWS_APART.items()},
    }


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Records]]]:
    """What each of the two processes found."""
    return in_processes(WORLD, __name__, tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def of_one_process() -> Mapping[str, Records]:
    """What one process finds, view by view, of each method when it is asked for."""

    class Found(dict[str, Records]):
        def __missing__(self, name: str) -> Records:
            self[name] = train(CASES[name])
            return self[name]

    return Found()


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].shape == value.shape, name
        difference = (ours[name].double() - value.double()).abs()
        # losses are float32: gradients of up to 20 differ by some 1e-6
        assert (difference <= 1e-5 + 1e-4 * value.abs()).all(), (name, ours[name], value)


@pytest.mark.parametrize(
    ("how", "name"), [*(("apart", name) for name in CASES), *(("stacked", name) for name in VIEWS_APART)]
)
def test_two_processes_train_as_one(
    how: str,
    name: str,
    of_two_processes: list[dict[str, dict[str, Records]]],
    of_one_process: Mapping[str, Records],
) -> None:
    for found in of_two_processes:
        for ours, theirs in zip(found[how][name], of_one_process[name], strict=True):
            for kind in ("metrics", "gradients", "state"):
                assert_close(ours[kind], theirs[kind])
