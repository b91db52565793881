"""Batch norms in groups, in one process and over several, against torch's own on each group's images."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from fastssl.distributed.collectives import all_gather, first_row, world_size
from fastssl.models.batch_norm import average_statistics, group_batch_norms
from fastssl.models.shuffling import forward_shuffled
from pipelines.command.errors import UserError
from tests.helpers.gloo_processes import in_processes

WORLD, IMAGES = 4, 16


def network() -> nn.Sequential:
    torch.manual_seed(0)
    parts = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(80, 4), nn.BatchNorm1d(4)
    )
    for part in parts:
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.normal_(part.bias)
    return parts.double()


def images() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    scale = torch.arange(1.0, IMAGES + 1).view(-1, 1, 1, 1)  # so that groups differ
    return (torch.randn(IMAGES, 3, 6, 6, generator=generator) * scale).double()


def targets() -> Tensor:
    return torch.randn(IMAGES, 4, generator=torch.Generator().manual_seed(2)).double()


def by_hand(images_per_group: int) -> dict[str, Tensor]:
    """Each group through a network of its own that shares the parameters; running statistics averaged."""
    shared = network()
    outputs, statistics = [], []
    for part in images().split(images_per_group):
        norms = copy.deepcopy(shared)
        for name, parameter in shared.named_parameters():
            owner, _, leaf = name.rpartition(".")
            setattr(norms.get_submodule(owner), leaf, parameter)
        outputs.append(norms(part))
        statistics.append({name: value for name, value in norms.named_buffers() if "running" in name})
    output = torch.cat(outputs)
    ((output - targets()) ** 2).mean().backward()
    found = {name: torch.stack([each[name] for each in statistics]).mean(0) for name in statistics[0]}
    found |= {f"{name}.grad": gradient(parameter) for name, parameter in shared.named_parameters()}
    return {"output": output.detach()} | found


def gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def by_groups(images_per_group: int) -> dict[str, Tensor]:
    """The same by ``group_batch_norms``, over the processes there are."""
    module = group_batch_norms(network(), images_per_group, IMAGES)
    share = IMAGES // world_size()
    rows = slice(first_row(share), first_row(share) + share)
    output = module(images()[rows])
    ((output - targets()[rows]) ** 2).mean().backward()
    average_statistics(module)
    found = {name: value for name, value in module.named_buffers() if "running" in name}
    for name, parameter in module.named_parameters():
        if world_size() > 1:
            dist.all_reduce(gradient(parameter))
        found[f"{name}.grad"] = gradient(parameter) / world_size()
    module.eval()
    assert torch.equal(module(images()[:1]), plain(module)(images()[:1]))
    return {"output": all_gather(output)} | found


def plain(module: nn.Module) -> nn.Module:
    """torch's own network with the module's state, which must fit it name by name."""
    other = network()
    other.load_state_dict(module.state_dict())
    return other.eval()


def shuffled() -> Tensor:
    """A network that tells in which company an image was: the mean of its group of 4."""
    share = IMAGES // world_size()
    numbers = torch.arange(float(IMAGES))[:, None]
    rows = slice(first_row(share), first_row(share) + share)

    def company(x: Tensor) -> Tensor:
        means = x.view(-1, 4, 1).mean(1, keepdim=True).expand(-1, 4, 1).reshape(-1, 1)
        return torch.cat([x, means], 1)

    return all_gather(forward_shuffled(company, numbers[rows], (7, 3)))


ROWS = (3, 0, 5, 1)  # of each process: regions of images, not images


def regions(rows: slice) -> tuple[Tensor, Tensor]:
    """Rows of a batch [9, 2, 3] and weights of their outputs."""
    generator = torch.Generator().manual_seed(3)
    values, weights = torch.randn(2, sum(ROWS), 2, 3, generator=generator).double()
    return values[rows].requires_grad_(), weights[rows]


def uneven(norm: nn.Module, rows: slice) -> dict[str, Tensor]:
    """Output, gradients and statistics of some rows by a batch norm."""
    values, weights = regions(rows)
    output = norm(values)
    (output * weights).sum().backward()
    assert values.grad is not None
    statistics = {name: value for name, value in norm.named_buffers() if "running" in name}
    return {"output": output.detach(), "gradient": values.grad} | statistics


def work() -> dict[str, object]:
    """What one of the four processes finds."""
    found: dict[str, object] = {str(group): by_groups(group) for group in (2, 4, 8, 16)}
    found["shuffled"] = shuffled()
    norm, rank = group_batch_norms(nn.Sequential(nn.BatchNorm1d(2).double()), None, IMAGES), dist.get_rank()
    found["uneven"] = uneven(norm[0], slice(sum(ROWS[:rank]), sum(ROWS[: rank + 1])))  # type: ignore[index]
    return found


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    """What each of four processes found."""
    return in_processes(WORLD, __name__, tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("group", [2, 4, 8, 16])
def test_groups_in_one_process(group: int) -> None:
    check(by_groups(group), by_hand(group))


@pytest.mark.parametrize("group", [2, 4, 8, 16])  # 4 images per process: within one, one each, two each, all
def test_groups_over_four_processes(group: int, processes: list[dict[str, dict[str, Tensor]]]) -> None:
    for found in processes:
        check(found[str(group)], by_hand(group))


def check(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-11)


def test_uneven_numbers_of_rows_over_four_processes(processes: list[dict[str, dict[str, Tensor]]]) -> None:
    """Regions of images, of which a process may have none, are normalized over all of them."""
    expected = uneven(nn.BatchNorm1d(2).double(), slice(0, sum(ROWS)))
    for name in ("output", "gradient"):
        found = torch.cat([each["uneven"][name] for each in processes])
        torch.testing.assert_close(found, expected[name], rtol=1e-9, atol=1e-11)
    for each in processes:
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(each["uneven"][name], expected[name], rtol=1e-9, atol=1e-11)


def test_all_images_in_one_group_leaves_torchs_own_norms() -> None:
    module = group_batch_norms(network(), IMAGES, IMAGES)
    assert [type(part) for part in module.children()] == [type(part) for part in network()]


def test_half_precision_stays_so() -> None:
    module = network().float()[:2]
    group_batch_norms(module, 4, IMAGES)
    with torch.autocast("cpu", torch.bfloat16):
        assert module(images().float()).dtype == torch.bfloat16
    views = images().float().to(memory_format=torch.channels_last)
    assert module(views).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("group", [3, 32])
def test_groups_that_do_not_fit_are_refused(group: int) -> None:
    with pytest.raises(UserError, match=f"groups of {group} images do not fit 16"):
        group_batch_norms(network(), group, IMAGES)


def test_shuffling_mixes_and_restores(processes: list[dict[str, Tensor]]) -> None:
    alone = shuffled()
    assert torch.equal(alone[:, 0], torch.arange(float(IMAGES)))  # back in order
    stayed = torch.arange(float(IMAGES)).view(4, 4).mean(1, keepdim=True).expand(4, 4).flatten()
    assert (alone[:, 1] != stayed).sum() > IMAGES // 2  # in other company
    assert alone[:, 1].unique().numel() == 4
    assert all(torch.equal(found["shuffled"], alone) for found in processes)  # whatever the world size
