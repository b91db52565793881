"""Collectives of the processes that train one model together.

Each has its share of every global batch: rank r of W the rows [r B, (r + 1) B) of W B. Without a process
group there is one process, and every function here is the identity.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def rank() -> int:
    """Rank of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def first_row(rows: int) -> int:
    """Index in the global batch of the first of this rank's ``rows``."""
    return rank() * rows


@torch.no_grad()
def all_gather(rows: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """All processes' rows in the order of the global batch, [B, ...] to [W B, ...]; without gradients.

    Args:
        rows: [B, ...], the same shape on all ranks.
        group: the processes; None: all of them.
    """
    if world_size() == 1:
        return rows.detach()
    rows = rows.detach().contiguous()
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, rows, group)
    return torch.cat(parts)


def all_gather_with_gradient(rows: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """Same as ``all_gather``, but each rank's rows get the gradients of all processes' losses, summed.

    The trainer averages gradients over the processes. So a loss that each process computes of all rows alike
    has the gradient that one process would give it, and so has the mean over processes of losses that each
    computes of its own rows against all.
    """
    if world_size() == 1:
        return rows
    return _Gather.apply(rows, group)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group, ctx.count = group, len(rows)
        return all_gather(rows, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient, group=ctx.group)
        start = dist.get_rank(ctx.group) * ctx.count
        return gradient[start : start + ctx.count], None


def any_rank(*flags: bool) -> list[bool]:
    """Logical OR of each flag over all ranks. Collective; does not synchronize the GPU."""
    if not dist.is_initialized():
        return list(flags)
    votes = torch.tensor(flags, dtype=torch.int32)
    dist.all_reduce(votes, dist.ReduceOp.MAX)
    return [bool(vote) for vote in votes.tolist()]


def broadcast_object(value: Any) -> Any:
    """Broadcast rank 0's value to all ranks."""
    if not dist.is_initialized():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
    return values[0]


def all_gather_objects(mine: list[Any]) -> list[Any]:
    """Gather all ranks' lists of picklable objects into one, in the order of ranks."""
    if not dist.is_initialized():
        return mine
    lists: list[list[Any]] = [[] for _ in range(world_size())]
    dist.all_gather_object(lists, mine, group=None)
    return [thing for of_process in lists for thing in of_process]


@torch.no_grad()
def all_reduce_mean(metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    """Mean of each 0-dim metric over the ranks."""
    if not dist.is_initialized():
        return metrics
    values = torch.stack([value.detach().float() for value in metrics.values()])
    dist.all_reduce(values)
    return dict(zip(metrics, values / world_size(), strict=True))


def wrap_ddp(module: nn.Module) -> nn.Module:
    """Wrap a module in DistributedDataParallel, which averages gradients over ranks; one process: as it is.

    Buffers are the module's own affair. Unused parameters are looked for although there are none: only then
    does torch keep its first layout of the gradients' buckets. Otherwise it makes a new one after the first
    step, sums of three and more processes depend on it, and a resumed run would differ in its last bits.
    """
    if not dist.is_initialized():
        return module
    with warnings.catch_warnings():  # the option's name is about to change; older versions know no other
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(module, broadcast_buffers=False, find_unused_parameters=True)
