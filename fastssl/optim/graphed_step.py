"""A step as one CUDA graph: forward, backward, optimizer and averages are launched by one call of the host.

The first steps are plain ones: they allocate momentum, and choose kernels. The next is captured, and replayed
from then on: a batch is copied to where the graph reads it, rates and momentums of averages are sent to the
device. What follows the weights (MoCo's queue, whose place follows from the step) stays outside, on tensors
that the graph leaves. Numbers are those of the plain step, as its kernels are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fastssl.distributed.collectives import world_size
from fastssl.optim.optimizer import Optimizer
from fastssl.optim.train_step import TrainStep
from pipelines.batch import Batch

Replay = Callable[[], None]


def capture_on_gpu(body: Callable[[], None]) -> Replay:
    """Capture what ``body`` launches in a CUDA graph; nothing is computed before the replay."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        body()
    return graph.replay


def graph_blocker(
    method: Any, optimizer: Any, device: torch.device, autocast: torch.dtype | None, accumulation_steps: int
) -> str | None:
    """The first reason against a CUDA graph of a ``Method``'s step, in words; None where there is none."""
    if device.type != "cuda":
        return f"the device is {device.type}"
    if world_size() > 1:
        return "there are several processes"
    if accumulation_steps > 1:
        return "micro-batches are accumulated"
    if autocast is torch.float16:
        return "fp16 chooses on the host whether to skip a step"
    if not isinstance(optimizer, Optimizer) or not optimizer.can_be_captured:
        return "the optimizer is not implemented in triton, whose kernels read rates on the device"
    if not repeats(method):
        return f"{type(method).__name__} draws or chooses on the host in each step"
    return None


def repeats(method: Any) -> bool:
    """``Method.repeats``, unless a subclass has a ``forward`` of its own that this says nothing of."""
    says, computes = (
        next(number for number, cls in enumerate(type(method).__mro__) if name in vars(cls))
        for name in ("repeats", "forward")
    )
    return bool(method.repeats) and says <= computes


class GraphedStep(TrainStep):
    """``TrainStep`` that replays a graph; see there. ``graph_blocker`` says where it can.

    Args:
        args, options: those of ``TrainStep``.
        capture: makes a graph of what a function launches.
    """

    WARM_UP_STEPS = 3
    optimizer: Any  # an ``Optimizer`` that can be captured
    _method: Any

    def __init__(
        self, *args: Any, capture: Callable[[Callable[[], None]], Replay] = capture_on_gpu, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._capture = capture
        self._plain_steps_left = self.WARM_UP_STEPS
        self._replay: Replay | None = None
        self._step = 0
        self._inputs: Batch
        self._metrics: list[dict[str, Tensor]]
        self._left: list[Tensor]

    def __call__(  # type: ignore[override]
        self, batches: Iterator[Batch], step: int, rate: float
    ) -> tuple[Batch, list[dict[str, Tensor]]]:
        """See ``TrainStep``."""
        if self._plain_steps_left:
            self._plain_steps_left -= 1
            with _side_stream(self._device):
                return super().__call__(batches, step, rate)
        batch = next(batches)
        self._begin(step, rate)
        self._step, averages = step, self._method.averages(step)
        self.optimizer.take_averages(averages)
        if self._replay is None:
            self.optimizer.refresh()  # what it sends to must not be the graph's memory
            self._inputs = _copy_of(batch)
            self._replay = self._capture(self._body)
            self._left = list(self._method.pending)
            self.optimizer.take_averages(averages)  # the captured step has forgotten them
        else:
            _fill(self._inputs, batch)
        self.optimizer.refresh()
        self._replay()
        self._method.pending[:] = self._left
        self._end(step)
        return batch, [{name: value.clone() for name, value in values.items()} for values in self._metrics]

    def _body(self) -> None:
        metrics = self._add_gradients(self._inputs, self._step)
        self._metrics = self._move_weights([metrics], self._step)


@contextlib.contextmanager
def _side_stream(device: torch.device) -> Iterator[None]:
    """Inside, a stream other than the default one, on which nothing can be captured; a GPU's only."""
    if device.type != "cuda":
        yield
        return
    side, current = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(current)
    with torch.cuda.stream(side):
        yield
    current.wait_stream(side)


def _copy_of(batch: Batch) -> Batch:
    """The batch in memory of its own, in the same layout."""
    labels = None if batch.labels is None else batch.labels.clone()
    return replace(
        batch,
        views=tuple(view.clone(memory_format=torch.preserve_format) for view in batch.views),
        sample_ids=batch.sample_ids.clone(),
        labels=labels,
    )


def _fill(inputs: Batch, batch: Batch) -> None:
    """Copy a batch to where another one lies."""
    for target, source in zip(inputs.views, batch.views, strict=True):
        target.copy_(source, non_blocking=True)
    inputs.sample_ids.copy_(batch.sample_ids, non_blocking=True)
    if inputs.labels is not None and batch.labels is not None:
        inputs.labels.copy_(batch.labels, non_blocking=True)
