"""The CPU backend: threads decode each image once; its views or pixels go straight into the batch.

Decoders and kernels release the GIL, so threads are enough: no processes, no pickling, no copies. A batch
is split into as many tasks as there are workers.

Budget: 40 core-us of Python an image, with 16 threads at the GIL. Measured with next to nothing to decode and
to render (``python -m benchmarks.limits --data generated``, "stubbed"): 9 for one view, 20 for eight.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from pipelines.backends.backend import Backend, Finished, LoaderConfig
from pipelines.backends.buffers import Buffer, PixelBuffer, ViewBuffer
from pipelines.backends.decode_sample import PixelScratch, decode_sample
from pipelines.backends.request import Request, Requests
from pipelines.batch import Images
from pipelines.command.errors import UserError
from pipelines.command.progress import end_tasks
from pipelines.render.cpu import Workspace


class Worker(threading.local):
    """Scratch memory of each thread."""

    def __init__(self) -> None:
        self.workspace = Workspace()
        self.pixels = PixelScratch()


@dataclass(frozen=True, eq=False)
class _Ticket:
    """A batch that the threads are filling."""

    request: Request
    buffer: Buffer
    shown: np.ndarray
    tasks: list[Future[None]]


class ThreadsBackend(Backend):
    """Batches made by threads on the CPU; on a GPU, those of crops or pixels are finished there.

    Args:
        config: of the loader.
        requests: of the loader.
    """

    @classmethod
    def open(cls, config: LoaderConfig, requests: Requests) -> Backend:
        """The backend of a loader, whose batches are finished.

        Raises:
            UserError: on a CPU, the config asks for an output that a GPU has to finish.
        """
        if config.cpu_output in ("crops", "pixels") and config.device.type != "cuda":
            raise UserError(
                f"--cpu-output {config.cpu_output} leaves the rest to a GPU, and there is none: use "
                "--cpu-output views"
            )
        return cls(config, requests)

    def __init__(self, config: LoaderConfig, requests: Requests) -> None:
        self._config, self._requests, self._source = config, requests, config.source
        self._output = config.cpu_output
        if self._output == "auto":
            self._output = "pixels" if config.device.type == "cuda" else "views"
        self._workers = config.workers or len(os.sched_getaffinity(0))
        self._worker = Worker()
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="loader")
        self._free = [self._buffer() for _ in range(config.prefetch + 1)]
        self._in_use: Buffer | None = None
        self._under_way: list[_Ticket] = []

    def start(self, request: Request) -> _Ticket:
        """Set the threads on a request."""
        index, buffer = self._source.index, self._free.pop()
        buffer.begin(index.heights[request.indices], index.widths[request.indices])
        ticket = _Ticket(request, buffer, request.indices.copy(), [])
        self._under_way.append(ticket)
        for share in np.array_split(np.arange(len(request.indices)), self._workers):
            if len(share):
                ticket.tasks.append(self._pool.submit(self._fill, ticket, share))
        return ticket

    def finish(self, ticket: _Ticket) -> Finished:
        """Wait for the threads; on a GPU, begin to finish there what they made."""
        stage = self.stage(ticket)
        if isinstance(stage, Images):
            views = render_on_device(stage, ticket.request, self._config)
        elif self._output == "crops":
            views = _finish_on_device(stage, ticket.request, self._config)
        else:
            views = stage
        return Finished(views, ticket.shown)

    def stage(self, ticket: _Ticket) -> tuple[torch.Tensor, ...] | Images:
        """Everything that the threads make of a request, on the device: views, crops or images."""
        for task in ticket.tasks:
            task.result()
        self._under_way.remove(ticket)
        self._in_use = ticket.buffer
        made = ticket.buffer.hand_over(self._config.device)
        if self._config.device.type == "cuda":
            ticket.buffer.copied = torch.cuda.current_stream(self._config.device).record_event()
        return made

    def release(self) -> None:
        """Take the memory of the last batch back, once it is copied."""
        if self._in_use is not None:
            self._in_use.wait_until_copied()
            self._free.append(self._in_use)
            self._in_use = None

    def drop(self) -> None:
        """Forget what is under way; what has begun is waited for."""
        tickets, self._under_way = self._under_way, []
        end_tasks([task for ticket in tickets for task in ticket.tasks])
        self._free += [ticket.buffer for ticket in tickets]

    def close(self) -> None:
        """End the threads."""
        self.drop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _buffer(self) -> Buffer:
        config, pinned = self._config, self._config.device.type == "cuda"
        if self._output == "pixels":
            return PixelBuffer(pinned=pinned)
        dtype = None if self._output == "crops" else config.dtype
        return ViewBuffer(config.groups, config.samples, dtype, pinned=pinned)

    # --- in the threads -------------------------------------------------------------------------------------

    def _fill(self, ticket: _Ticket, share: np.ndarray) -> None:
        request, buffer = ticket.request, ticket.buffer
        for slot in share.tolist():
            image = self._decode(int(request.indices[slot]), buffer.out(slot))
            if image is None:
                ticket.shown[slot], image = self._requests.substitute(request, slot, self._decode)
            buffer.fill(slot, image, request.parameters, self._worker.workspace)

    def _decode(self, index: int, out: np.ndarray | None = None) -> np.ndarray | None:
        """A sample's pixels, at ``out`` or in this thread's own memory; None where they are lost."""
        if out is None:
            sizes = self._source.index
            out = self._worker.pixels.grown(3 * int(sizes.heights[index]) * int(sizes.widths[index]))
        return decode_sample(self._source, index, self._config.bad_images, out)


def render_on_device(images: Images, request: Request, config: LoaderConfig) -> tuple[torch.Tensor, ...]:
    """The finished views of a request from decoded images, by our kernels on their GPU."""
    from pipelines.render.gpu import render_views

    return tuple(
        render_views(images, table, group.spec, config.dtype)
        for table, group in zip(request.parameters, config.groups, strict=True)
    )


def _finish_on_device(
    crops: tuple[torch.Tensor, ...], request: Request, config: LoaderConfig
) -> tuple[torch.Tensor, ...]:
    from pipelines.render.gpu import finish_crops

    return tuple(
        finish_crops(
            crop.permute(0, 2, 3, 1).view(*table.shape, group.spec.size, group.spec.size, 3),
            table,
            group.spec,
            config.dtype,
        )
        for crop, table, group in zip(crops, request.parameters, config.groups, strict=True)
    )
