"""Batch norm over groups of images of the global batch, independent of the number of processes.

A group is a number of images in a row of the global batch. With all images in one group this is
synchronized batch norm; with groups of 32 it is what a machine with 32 images per GPU does by itself, on any
number of devices. Results depend on the groups alone, so that a run may resume with more or fewer processes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from fastssl.distributed.collectives import all_gather_with_gradient, rank, world_size
from pipelines.command.errors import UserError


def group_batch_norms(module: nn.Module, images_per_group: int | None, images: int) -> nn.Module:
    """The module with its batch norms made to work in groups; parameters and buffers are the same ones.

    Args:
        module: on its device already.
        images_per_group: images that share statistics; None: all.
        images: size of the global batch that goes through the network at once.

    Raises:
        UserError: the groups do not fit the batch or the processes' shares of it, or there are no batch norms
            to group.
    """
    if images_per_group is None:
        images_per_group = images
    elif not any(isinstance(part, _BatchNorm) for part in module.modules()):
        raise UserError(
            "batch norms in groups need batch norms, and neither backbone nor heads have any: "
            "set --batch-norm-group None, and --method.no-shuffling-bn where there is shuffling BN"
        )
    share = images // world_size()
    if images % images_per_group or (share % images_per_group and images_per_group % share):
        raise UserError(
            f"batch norms in groups of {images_per_group} images do not fit {images} images in "
            f"{world_size()} processes: a group must be a whole part, or a multiple, of a process's {share}"
        )
    if images_per_group > share:
        return _replace(module, _synchronized(images_per_group // share))
    groups = share // images_per_group
    return _replace(module, lambda norm: _BatchNormInGroups(norm, groups)) if groups > 1 else module


def average_statistics(module: nn.Module) -> None:
    """Give all processes the mean of their running statistics; nothing is sent where they share them anyway.

    After every step, so that the buffers never depend on when a checkpoint was written.
    """
    if world_size() == 1:
        return
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    if not norms or all(_spans_all_processes(norm) for norm in norms):
        return
    buffers = [
        buffer for norm in norms for buffer in (norm.running_mean, norm.running_var) if buffer is not None
    ]
    flat = torch.cat(buffers)
    dist.all_reduce(flat)
    flat /= world_size()
    torch._foreach_copy_(buffers, list(flat.split([len(buffer) for buffer in buffers])))


class _BatchNormInGroups(_BatchNorm):
    """Batch norm over each of ``groups`` equal parts of the rows by itself; [N, C, ...]."""

    def __init__(self, norm: _BatchNorm, groups: int) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        _take_over(self, norm)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Same as torch's for each group; running statistics follow the mean over the groups."""
        if not self.training:
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        means = torch.zeros(self.groups, self.num_features, device=x.device, dtype=self.weight.dtype)
        variances = torch.zeros_like(means)
        parts = [
            functional.batch_norm(part, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
            for part, mean, variance in zip(x.chunk(self.groups), means, variances, strict=True)
        ]
        _follow(self, means.mean(0), variances.mean(0))
        return torch.cat(parts)


class _SynchronizedBatchNorm(_BatchNorm):
    """Batch norm over the rows of several processes, in plain torch: for CPUs, where torch's own refuses."""

    def __init__(self, norm: _BatchNorm, group: dist.ProcessGroup | None) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        _take_over(self, norm)
        self.process_group = group

    def forward(self, x: Tensor) -> Tensor:
        """Same as torch's over the rows [N, C, ...] of all processes; a process may have none."""
        if not self.training:
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        mean, variance, count = self._statistics(values)
        if count:
            _follow(self, mean.detach(), variance.detach() * (count / (count - 1)))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shape = (1, -1, *(1,) * (x.ndim - 2))
        return ((values - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)).to(x.dtype)

    def _statistics(self, values: Tensor) -> tuple[Tensor, Tensor, float]:
        """Mean and variance [C] over all processes' rows [N, C, ...], and the number of values in each."""
        pixels = [0, *range(2, values.ndim)]
        count = values.numel() / values.shape[1]
        if count:
            variance, mean = torch.var_mean(values, pixels, correction=0)
        else:
            variance = mean = values.sum(pixels)  # zeros, which have a gradient: all processes go back
        statistics = torch.stack([mean, variance, torch.full_like(mean, count)])[None]
        means, variances, counts = all_gather_with_gradient(statistics, self.process_group).unbind(1)
        if bool((counts == count).all()):
            return means.mean(0), variances.mean(0) + means.var(0, correction=0), len(counts) * count
        shares = counts / counts.sum(0)
        mean = (shares * means).sum(0)
        return mean, (shares * (variances + (means - mean).square())).sum(0), counts[:, 0].sum().item()


def _synchronized(processes: int) -> Callable[[_BatchNorm], nn.Module]:
    """A converter of batch norms that shares statistics among each ``processes`` neighboring ranks."""
    group: dist.ProcessGroup | None = None
    for first in range(0, world_size(), processes) if processes < world_size() else ():
        members = range(first, first + processes)
        made = dist.new_group(list(members))  # each process has to call for each group
        if rank() in members:
            assert isinstance(made, dist.ProcessGroup)
            group = made

    def convert(norm: _BatchNorm) -> nn.Module:
        if norm.weight.is_cuda:
            return nn.SyncBatchNorm.convert_sync_batchnorm(norm, group)
        return _SynchronizedBatchNorm(norm, group)

    return convert


def _replace(module: nn.Module, convert: Callable[[_BatchNorm], nn.Module]) -> nn.Module:
    for name, part in module.named_children():
        if isinstance(part, _BatchNorm):
            norm = convert(part)
            if len(part._modules):  # timm's norms hold the dropout and the activation that follow them
                for inner, follower in part.named_children():
                    norm.add_module(inner, follower)
                norm.register_forward_hook(_children_follow)
            setattr(module, name, norm)
        else:
            _replace(part, convert)
    return module


def _children_follow(norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    for child in norm.children():
        output = child(output)
    return output


def _take_over(new: _BatchNorm, old: _BatchNorm) -> None:
    """Parameters, buffers and mode of another batch norm."""
    new.weight, new.bias = old.weight, old.bias
    new.running_mean, new.running_var = old.running_mean, old.running_var
    new.num_batches_tracked, new.training = old.num_batches_tracked, old.training


@torch.no_grad()
def _follow(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics towards those of a batch, [C] each."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.num_batches_tracked.add_(1)
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance, norm.momentum)


def _spans_all_processes(norm: _BatchNorm) -> bool:
    if not isinstance(norm, _SynchronizedBatchNorm | nn.SyncBatchNorm):
        return False
    return norm.process_group is None or dist.get_world_size(norm.process_group) == world_size()
