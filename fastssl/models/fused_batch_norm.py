"""Batch norm of channels-last tensors on a GPU in kernels of its own, for training.

Torch's batch norms work on as before wherever the kernels do not: in evaluation, on a CPU, in another layout,
under torch.compile. Kernels (``fastssl.models.fused_batch_norm_passes``) and Triton with them are imported
when they first run. Nothing waits for the device, and a CUDA graph may capture all of it.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Sizes of programs and their warps, as ``benchmarks.batch_norm`` tries them.
TILE, COLUMNS = 4096, 128  # elements that a program has at once, and the most columns of them
WARPS, STAGES = 4, 3  # of a program, and its tiles that are on their way from memory at once
SUMMING, MOVING = 4, 16  # programs per multiprocessor: of kernels that sum, and that write a tensor
LANES, MERGED = 64, 16  # partial results that are loaded at once, and columns of a program that merges them

_LEAST_COLUMNS = 8
_COMPILER: dict[str, Any] = {"enable_fp_fusion": True}
Module = TypeVar("Module", bound=nn.Module)
_DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def fuse_batch_norms(module: Module) -> Module:
    """The module with its ``nn.BatchNorm2d`` (none of their subclasses) fused, in place; nothing is renamed.

    After ``group_batch_norms``, whose groups stay as they are. Without Triton nothing is changed.
    """
    if importlib.util.find_spec("triton") is not None:
        for part in module.modules():
            if type(part) is nn.BatchNorm2d:
                part.__class__ = FusedBatchNorm2d
    return module


class FusedBatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` whose training forward and backward run in fused kernels, where those can.

    Numbers are torch's to the rounding of float32 sums, and repeat to the bit. The kernels take bfloat16,
    float16 and float32 [N, C, H, W] in channels-last, and float32 parameters; autocast changes nothing.
    """

    def forward(self, x: Tensor) -> Tensor:
        """See ``nn.BatchNorm2d``."""
        if torch.compiler.is_compiling() or not self._is_fused(x):
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return batch_norm(
            x, self.weight, self.bias, self.running_mean, self.running_var, self.momentum, self.eps
        )

    def _is_fused(self, x: Tensor) -> bool:
        if not (self.training and self.affine and self.track_running_stats and self.momentum is not None):
            return False
        if not (x.is_cuda or os.environ.get("TRITON_INTERPRET") == "1") or x.dtype not in _DTYPES:
            return False
        if x.ndim != 4 or not x.is_contiguous(memory_format=torch.channels_last):
            return False
        vectors = (self.weight, self.bias, self.running_mean, self.running_var)
        if any(v is None or v.dtype != torch.float32 or v.device != x.device for v in vectors):
            return False
        return x.shape[1] == self.num_features and x.numel() >= 2 * x.shape[1]


def batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
) -> Tensor:
    """Normalize each channel by the statistics of the batch, and move the running ones.

    Args:
        x: bfloat16, float16 or float32 [N, C, H, W], contiguous in channels-last, or [N, C], contiguous; at
            least two values per channel.
        weight, bias: float32 [C].
        running_mean, running_var: float32 [C], moved towards the statistics; variances are unbiased.
        momentum: share of the batch in them.
        eps: added to the variance.

    Returns:
        Tensor of the shape, layout and dtype of ``x``. Its gradient may be taken once.
    """
    y: Tensor = _FusedBatchNorm.apply(x, weight, bias, running_mean, running_var, momentum, eps)
    return y


class _FusedBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        from fastssl.models.fused_batch_norm_passes import merge_statistics, normalize, partial_statistics

        summing, moving, merging = _layouts(x)
        partials = torch.empty((2, summing.splits, summing.C), dtype=torch.float32, device=x.device)
        statistics = torch.empty((2, summing.C), dtype=torch.float32, device=x.device)
        y = torch.empty_like(x)
        matrix, split = (summing.M, summing.C), (summing.rows, summing.splits)
        with torch.cuda.device_of(x):
            partial_statistics[summing.grid](x, partials, *matrix, *split, **summing.sizes)
            running = (running_mean, running_var, momentum, eps)
            merge_statistics[merging](partials, statistics, *running, *matrix, *split, **_merging_sizes())
            normalize[moving.grid](x, y, statistics, weight, bias, *matrix, moving.rows, **moving.sizes)
        ctx.save_for_backward(x, weight, statistics)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from fastssl.models.fused_batch_norm_passes import input_gradient, merge_gradients, partial_gradients

        x, weight, statistics = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=_memory_format(x))
        summing, moving, merging = _layouts(x)
        partials = torch.empty((2, summing.splits, summing.C), dtype=torch.float32, device=x.device)
        of_parameters, coefficients = torch.empty_like(statistics), torch.empty_like(statistics)
        matrix, split = (summing.M, summing.C), (summing.rows, summing.splits)
        of_input = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        with torch.cuda.device_of(x):
            partial_gradients[summing.grid](
                x, gradient, statistics, partials, *matrix, *split, **summing.sizes
            )
            sums = (partials, statistics, of_parameters, coefficients)
            merge_gradients[merging](*sums, *matrix, summing.splits, **_merging_sizes())
            if of_input is not None:
                given = (statistics, coefficients, weight)
                input_gradient[moving.grid](
                    x, gradient, of_input, *given, *matrix, moving.rows, **moving.sizes
                )
        return of_input, of_parameters[0], of_parameters[1], None, None, None, None


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Programs of a kernel over a matrix [M, C]: column blocks times splits, which are rows in a row."""

    M: int
    C: int
    rows: int
    """Rows of a split, a multiple of a tile's; the last split may have fewer."""
    splits: int
    tile: tuple[int, int]
    """Rows and columns, powers of 2."""

    @property
    def grid(self) -> tuple[int, int]:
        """Numbers of programs."""
        return _blocks(self.C, self.tile[1]), self.splits

    @property
    def sizes(self) -> dict[str, Any]:
        """Constants that the kernel is compiled for."""
        BLOCK_M, BLOCK_C = self.tile
        return {"BLOCK_M": BLOCK_M, "BLOCK_C": BLOCK_C, "STAGES": STAGES, "num_warps": WARPS, **_COMPILER}


def _layouts(x: Tensor) -> tuple[_Layout, _Layout, tuple[int]]:
    """Programs of the kernels that sum and of those that write a tensor, and the grid of those that merge."""
    C = x.shape[1]
    M, processors = x.numel() // C, _multiprocessors(x.device)
    summing, moving = (_layout(M, C, number * processors) for number in (SUMMING, MOVING))
    return summing, moving, (_blocks(C, MERGED),)


def _layout(M: int, C: int, programs: int) -> _Layout:
    """Programs over a matrix, at most ``programs`` of them unless there are more column blocks."""
    columns = max(_LEAST_COLUMNS, min(COLUMNS, 1 << (C - 1).bit_length()))
    tile = TILE // columns
    splits = max(1, min(_blocks(M, tile), programs // _blocks(C, columns)))
    rows = _blocks(_blocks(M, tile), splits) * tile
    return _Layout(M=M, C=C, rows=rows, splits=_blocks(M, rows), tile=(tile, columns))


def _merging_sizes() -> dict[str, Any]:
    return {"LANES": LANES, "BLOCK_C": MERGED, "num_warps": 4, **_COMPILER}


def _blocks(size: int, block: int) -> int:
    return -(-size // block)


def _memory_format(x: Tensor) -> torch.memory_format:
    return torch.channels_last if x.ndim == 4 else torch.contiguous_format


@cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
