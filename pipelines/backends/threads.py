"""The CPU backend: threads decode each image once; its views or pixels go straight into the batch.

Decoders and kernels release the GIL, so threads are enough: no processes, no pickling, no copies. A batch
is split into as many tasks as there are workers; ``prefetch`` batches are under way while one is in use.
What is loaded depends on (seed, step) alone, so the whole state of a loader is the step to come.

Budget: 40 core-us of Python an image, with 16 threads at the GIL. Measured with next to nothing to decode and
to render (``python -m benchmarks.limits --data generated``, "stubbed"): 24 for one view, 32 for eight.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import numpy as np
import torch

from pipelines.backends.decode_sample import decode_sample
from pipelines.backends.products import Canvas, Product, to_device
from pipelines.backends.read_ahead import ReadAhead
from pipelines.backends.request import Request, Requests
from pipelines.batch import Batch
from pipelines.decode.bad_images import BadImages
from pipelines.plan.plan import Plan
from pipelines.render.cpu import Workspace
from pipelines.sources import Source
from pipelines.sources.source import ReadsAhead
from pipelines.views import ViewGroup

_MOST_KEPT = 1 << 26  # bytes that each thread keeps to decode to: an image of 22 megapixels


class Loader(Protocol):
    """What every backend offers: batches in the keyed order, from any step on."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __next__(self) -> Batch: ...

    def state_dict(self) -> dict[str, int]:
        """The step to come."""
        ...

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a state; what was prefetched is dropped."""
        ...

    def close(self) -> None:
        """End the workers."""
        ...


class _Slot:
    """The reused memory of one batch."""

    def __init__(self, canvas: Canvas, samples: int) -> None:
        self.canvas = canvas
        self.labels = np.empty(samples, np.int64)
        self.copied: torch.cuda.Event | None = None  # on the stream that copies it to a GPU

    def wait_until_copied(self) -> None:
        """Return when the memory may be written again: as a rule at once."""
        if self.copied is not None:
            self.copied.synchronize()
            self.copied = None


@dataclass(frozen=True, eq=False)
class _Job:
    """A batch under way."""

    request: Request
    slot: _Slot


class _Worker(threading.local):
    """What each thread keeps."""

    def __init__(self) -> None:
        self.workspace = Workspace()
        self.pixels = np.empty(0, np.uint8)

    def buffer(self, size: int) -> np.ndarray:
        """Memory to decode ``size`` bytes of pixels to, kept for the next image; less for a huge one."""
        if len(self.pixels) < size <= _MOST_KEPT:
            self.pixels = np.empty(size, np.uint8)
        return self.pixels


class ThreadedLoader:
    """Batches made by threads on the CPU.

    Args:
        source: where the encoded images come from.
        groups: the views of a sample.
        plan: which samples form which batch.
        product: what is made of the images: finished views, or less, for a renderer on the device.
        start_step: the first step to load; batches end before ``stop_step``.
        workers: threads; 0 takes every core.
        prefetch: batches under way beside the one in use.
        bad_images: takes note of what cannot be decoded.
        device: where batches are handed over.
    """

    def __init__(
        self,
        source: Source,
        groups: tuple[ViewGroup, ...],
        plan: Plan,
        *,
        product: Product,
        start_step: int,
        stop_step: int,
        bad_images: BadImages,
        workers: int = 0,
        prefetch: int = 3,
        device: torch.device | None = None,
    ) -> None:
        self._source, self._plan = source, plan
        self._requests = Requests(source.index, groups, plan)
        self._next_step, self._stop_step = start_step, stop_step
        self._bad_images = bad_images
        self._device = device or torch.device("cpu")
        self._workers = workers or len(os.sched_getaffinity(0))
        self._read_ahead: ReadAhead | None = None
        if plan.shuffle and plan.order == "blocks" and isinstance(source, ReadsAhead):
            self._read_ahead = ReadAhead(source, plan)
        self._worker = _Worker()
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="loader")
        samples = plan.batch_size // plan.world_size
        pinned = self._device.type == "cuda"
        self._free = [
            _Slot(product.canvas(groups, samples, pinned=pinned), samples) for _ in range(prefetch + 1)
        ]
        self._in_use: _Slot | None = None
        self._under_way: deque[tuple[_Job, list[Future[None]]]] = deque()

    # --- what a consumer sees -------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._in_use is not None:
            self._in_use.wait_until_copied()
            self._free.append(self._in_use)
            self._in_use = None
        self._start_jobs()
        if not self._under_way:
            raise StopIteration
        job, tasks = self._under_way[0]
        for task in tasks:
            task.result()
        self._under_way.popleft()
        self._next_step = job.request.step + 1
        self._in_use = job.slot
        return self._hand_over(job)

    def state_dict(self) -> dict[str, int]:
        """The step to come."""
        return {"step": self._next_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a state; what was prefetched is dropped."""
        self._drop_jobs()
        self._next_step = state["step"]

    def close(self) -> None:
        """End the workers; what was prefetched is dropped."""
        self._drop_jobs()
        if self._read_ahead is not None:
            self._read_ahead.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> ThreadedLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- batches under way ----------------------------------------------------------------------------------

    def _start_jobs(self) -> None:
        step = self._under_way[-1][0].request.step + 1 if self._under_way else self._next_step
        while self._free and step < self._stop_step:
            job = self._new_job(step, self._free.pop())
            shares = np.array_split(np.arange(len(job.request.numbers)), self._workers)
            tasks = [self._pool.submit(self._fill, job, share) for share in shares if len(share)]
            self._under_way.append((job, tasks))
            step += 1

    def _drop_jobs(self) -> None:
        for _, tasks in self._under_way:
            for task in tasks:
                task.cancel()
        for job, tasks in self._under_way:
            for task in tasks:
                if not task.cancelled():
                    task.exception()
            self._free.append(job.slot)
        self._under_way.clear()

    def _new_job(self, step: int, slot: _Slot) -> _Job:
        if self._read_ahead is not None:
            self._read_ahead.reach(step)
        request = self._requests.of_step(step)
        index = self._source.index
        slot.canvas.begin(index.heights[request.numbers], index.widths[request.numbers])
        return _Job(request, slot)

    def _hand_over(self, job: _Job) -> Batch:
        index, request = self._source.index, job.request
        views, images = job.slot.canvas.hand_over(self._device)
        labels = job.slot.labels[: len(request.numbers)].copy()
        batch = Batch(
            step=request.step,
            epoch=request.epoch,
            views=views,
            images=images,
            sample_ids=to_device(index.sample_ids[request.numbers], self._device),
            labels=to_device(labels, self._device) if index.labels is not None else None,
            parameters=request.parameters,
        )
        if self._device.type == "cuda":
            job.slot.copied = torch.cuda.current_stream(self._device).record_event()
        return batch

    # --- in the workers -------------------------------------------------------------------------------------

    def _fill(self, job: _Job, share: np.ndarray) -> None:
        request, canvas, labels = job.request, job.slot.canvas, self._source.index.labels
        for b in share.tolist():
            number = int(request.numbers[b])
            image = self._decode(number, canvas.place(b))
            if image is None:
                number, image = self._requests.substitute(request, b, self._decode)
            canvas.fill(b, image, request.parameters, self._worker.workspace)
            if labels is not None:
                job.slot.labels[b] = labels[number]

    def _decode(self, number: int, place: np.ndarray | None = None) -> np.ndarray | None:
        """A sample's pixels, at ``place`` or in this thread's own memory; None where they are lost."""
        if place is None:
            index = self._source.index
            place = self._worker.buffer(3 * int(index.heights[number]) * int(index.widths[number]))
        return decode_sample(self._source, number, self._bad_images, place)
