"""Host's part of a fused optimizer step: tables of addresses and chunks, and two launches.

Tables are made once, and anew only when a tensor has moved; gradients, which may move at every step, have a
table of their own. Everything is sent from pinned memory, and nothing waits for the device.

A launch that is captured in a CUDA graph has tables of its own, which ``refresh`` allocates before the
capture and fills after it. A graph that copied them itself would read memory of the host that may be long
gone; and to memory allocated in a capture each replay writes what else the graph keeps there in its course.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from fastssl.optim.multi_tensor_passes import COLUMNS, GROUP_SCALARS, sum_squares, update_tensors

# Sizes of programs and their warps, as ``benchmarks.tune`` tries them.
CHUNK, BLOCK, WARPS = 16384, 2048, 4  # elements of a program, and of one pass of its loop
LANES = 128  # partial sums that are loaded at once
_COMPILER: dict[str, Any] = {"num_stages": 1, "enable_fp_fusion": True}
_VECTOR = 16  # bytes

_Addresses = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tensors:
    """Float32 tensors of T parameters, those of one parameter alike in shape and in layout in memory."""

    gradients: Sequence[Tensor | None]
    """None: the weight and its momentum stay as they are."""
    buffers: Sequence[Tensor | None]
    """Momentums; None where there is no gradient, or the group's momentum is 0."""
    targets: Sequence[Tensor | None]
    """Moving averages that follow the weights."""
    averages: Sequence[int]
    """Index of the momentum of each target."""


@dataclass(kw_only=True, eq=False)
class _Tables:
    """Kernel arguments on the device."""

    key: tuple[_Addresses, ...]
    """Addresses that the rows hold."""
    first: list[int]
    """Position of each tensor's chunks among the partial sums; -1: it has none."""
    rows: Tensor
    chunks: Tensor
    gradients: Tensor
    partials: Tensor


class MultiTensorStep:
    """Launches of one optimizer, whose parameters are on one device.

    Args:
        groups: parameter groups; those with ``adapt`` are LARS'.
        nesterov: Nesterov's momentum.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], *, nesterov: bool = False) -> None:
        self._weights: list[Tensor] = [weight for group in groups for weight in group["params"]]
        self._groups = [index for index, group in enumerate(groups) for _ in group["params"]]
        self._adapted = [group.get("adapt", False) for group in groups for _ in group["params"]]
        self._num_groups, self._nesterov = len(groups), nesterov
        self._device = self._weights[0].device
        self._neutral = torch.tensor([0.0, 1.0], device=self._device)  # no infinity found, scale 1
        self._scalars: Tensor | None = None
        self._tables: _Tables | None = None
        self._gradients: _Addresses = ()  # what the table of gradients holds
        self._spare: _Tables | None = None  # of the next graph
        self._captured: list[tuple[Tensor, Tensor]] = []  # what tables of graphs are to hold
        self._graph_tables: list[_Tables] = []  # kept: a graph may be replayed at any time

    def refresh(self, groups: Sequence[dict[str, Any]], momentums: Sequence[float]) -> None:
        """Send numbers to the device, and graphs' tables; allocate those of the next graph.

        Args:
            groups: with GROUP_SCALARS; a missing one counts as 0.
            momentums: of the moving averages.
        """
        values = [float(group.get(name, 0.0)) for group in groups for name in GROUP_SCALARS]
        host = torch.tensor(values + ([1 - momentum for momentum in momentums] or [0.0]))
        if self._scalars is None or len(self._scalars) < len(host):
            self._scalars = torch.empty_like(host, device=self._device)
        self._send(host, self._scalars[: len(host)])
        while self._captured:
            self._send(*self._captured.pop())
        if self._spare is None:
            self._spare = self._allocate()

    def run(self, tensors: Tensors, found_inf: Tensor | None, scale: Tensor | None) -> None:
        """Launch one step, with the numbers of the last ``refresh``.

        Args:
            tensors: of all parameters, in the order of the groups.
            found_inf: float32, one element: not 0 where weights and momentums are to stay; None: 0.
            scale: float32, one element: factor of the gradients as they are; None: 1.
        """
        assert self._scalars is not None, "refresh, then run"
        tables = self._tables_of(tensors)
        found_inf = self._neutral[:1] if found_inf is None else found_inf
        scale = self._neutral[1:] if scale is None else scale
        arrays = (tables.chunks, tables.rows, tables.gradients, self._scalars)
        sizes = {"CHUNK": CHUNK, "BLOCK": BLOCK, "num_warps": WARPS, **_COMPILER}
        with torch.cuda.device_of(self._scalars):
            if len(tables.partials):
                sum_squares[(len(tables.partials),)](*arrays, scale, tables.partials, **sizes)
            update_tensors[(len(tables.chunks),)](
                *arrays,
                found_inf,
                scale,
                tables.partials,
                **sizes,
                LANES=LANES,
                NESTEROV=self._nesterov,
            )

    def _tables_of(self, tensors: Tensors) -> _Tables:
        """Tables of the tensors as they lie: those of the last step, as far as nothing has moved."""
        gradients = _addresses(tensors.gradients)
        key = (
            _addresses(self._weights),
            _addresses(tensors.buffers),
            _addresses(tensors.targets),
            tuple([address % _VECTOR for address in gradients]),
        )
        if is_capturing():
            tables, self._spare = self._spare, None
            assert tables is not None, "refresh before the capture, which may not allocate tables"
            self._graph_tables.append(tables)
            self._fill(tables, key, tensors.averages)
            self._send(torch.tensor(gradients), tables.gradients)
            return tables
        if self._tables is None or self._tables.key != key:
            self._tables, self._gradients = self._tables or self._allocate(), ()
            self._fill(self._tables, key, tensors.averages)
        if self._gradients != gradients:
            self._send(torch.tensor(gradients), self._tables.gradients)
            self._gradients = gradients
        return self._tables

    def _allocate(self) -> _Tables:
        """Tables of addresses yet to come, with the chunks, those first that have partial sums."""
        chunks, num_adapted, first = list[tuple[int, int]](), 0, [-1] * len(self._weights)
        order = sorted(range(len(self._weights)), key=lambda tensor: not self._adapted[tensor])
        for tensor in order:
            if self._adapted[tensor]:
                first[tensor] = len(chunks)
            chunks += [(tensor, place) for place in range(triton.cdiv(self._weights[tensor].numel(), CHUNK))]
            num_adapted = len(chunks) if self._adapted[tensor] else num_adapted
        table = torch.tensor(chunks)
        tables = _Tables(
            key=(),
            first=first,
            rows=torch.empty((len(first), len(COLUMNS)), dtype=torch.int64, device=self._device),
            chunks=torch.empty_like(table, device=self._device),
            gradients=torch.empty(len(first), dtype=torch.int64, device=self._device),
            partials=torch.empty((num_adapted, 2), device=self._device),
        )
        self._send(table, tables.chunks)
        return tables

    def _fill(self, tables: _Tables, key: tuple[_Addresses, ...], averages: Sequence[int]) -> None:
        """Send the rows of tensors that lie at the addresses of ``key``."""
        rows = []
        for tensor, parameter in enumerate(self._weights):
            numel = parameter.numel()
            weight, buffer, target, gradient = (addresses[tensor] for addresses in key)
            row = {
                "weight": weight,
                "buffer": buffer,
                "target": target,
                "numel": numel,
                "group": len(GROUP_SCALARS) * self._groups[tensor],
                "average": len(GROUP_SCALARS) * self._num_groups + averages[tensor],
                "first": tables.first[tensor],
                "vectors": not any(n % _VECTOR for n in (weight, buffer, target, gradient, 4 * numel)),
            }
            rows.append([int(row[name]) for name in COLUMNS])
        self._send(torch.tensor(rows), tables.rows)
        tables.key = key

    def _send(self, host: Tensor, table: Tensor) -> None:
        if is_capturing():
            self._captured.append((host, table))
        else:  # torch keeps pinned memory until it is copied
            table.copy_(host.pin_memory() if table.is_cuda else host, non_blocking=True)


def _addresses(tensors: Sequence[Tensor | None]) -> _Addresses:
    return tuple([0 if tensor is None else tensor.data_ptr() for tensor in tensors])


def is_capturing() -> bool:
    """True if what the current stream is given becomes part of a CUDA graph."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
