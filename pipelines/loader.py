"""The CPU backend: threads decode each image once and make all its views of it, straight into the batch.

Decoders and kernels release the GIL, so threads are enough: no processes, no pickling, no copies. A batch
is split into as many tasks as there are workers; ``prefetch`` batches are under way while one is in use.
What is loaded depends on (seed, step) alone, so the whole state of a loader is the step to come.
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

from pipelines.bad_images import BadImages
from pipelines.batch import Batch
from pipelines.decode import UndecodableImageError, decode
from pipelines.errors import UserError
from pipelines.plan import Plan
from pipelines.products import Canvas, Product
from pipelines.read_ahead import ReadAhead, ReadsAhead
from pipelines.render.cpu import Workspace
from pipelines.sources import Source
from pipelines.views import ViewGroup, draw

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

    step: int
    epoch: int
    slot: _Slot
    positions: np.ndarray
    numbers: np.ndarray
    parameters: tuple[np.ndarray, ...]


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
        if not groups:
            raise UserError("a run needs at least one view: set --views.0.num-views to 1 or more")
        self._source, self._groups, self._plan = source, groups, plan
        self._next_step, self._stop_step = start_step, stop_step
        self._bad_images = bad_images
        self._device = device or torch.device("cpu")
        self._workers = workers or len(os.sched_getaffinity(0))
        self._prefetch = prefetch
        firsts = np.cumsum([0, *(group.num_views for group in groups)])
        self._view_numbers = tuple(
            range(first, first + group.num_views) for first, group in zip(firsts, groups, strict=False)
        )
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
        self._next_step = job.step + 1
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
        step = self._under_way[-1][0].step + 1 if self._under_way else self._next_step
        while self._free and step < self._stop_step:
            job = self._new_job(step, self._free.pop())
            shares = np.array_split(np.arange(len(job.positions)), self._workers)
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
        epoch = step // self._plan.batches_per_epoch
        positions = self._plan.positions(step)
        numbers = self._plan.samples(epoch, positions)
        index = self._source.index
        parameters = tuple(
            draw(
                group.spec,
                seed=self._plan.seed,
                epoch=epoch,
                samples=index.sample_ids[numbers],
                # an unreadable header has size 0: such a sample is drawn again with its substitute's size
                heights=np.maximum(index.heights[numbers], 1),
                widths=np.maximum(index.widths[numbers], 1),
                views=views,
            )
            for group, views in zip(self._groups, self._view_numbers, strict=True)
        )
        slot.canvas.begin(index.heights[numbers], index.widths[numbers])
        return _Job(step, epoch, slot, positions, numbers, parameters)

    def _hand_over(self, job: _Job) -> Batch:
        index = self._source.index
        views, images = job.slot.canvas.hand_over(self._device)
        batch = Batch(
            step=job.step,
            epoch=job.epoch,
            views=views,
            images=images,
            sample_ids=self._to_device(index.sample_ids[job.numbers]),
            labels=None if index.labels is None else self._to_device(job.slot.labels[: len(job.positions)]),
            parameters=job.parameters,
        )
        if self._device.type == "cuda":
            job.slot.copied = torch.cuda.current_stream(self._device).record_event()
        return batch

    def _to_device(self, numbers: np.ndarray) -> torch.Tensor:
        """A copy of a few numbers, without waiting for a GPU."""
        copy = torch.from_numpy(numbers.copy())
        if self._device.type == "cuda":
            return copy.pin_memory().to(self._device, non_blocking=True)
        return copy

    # --- in the workers -------------------------------------------------------------------------------------

    def _fill(self, job: _Job, share: np.ndarray) -> None:
        index, canvas, workspace = self._source.index, job.slot.canvas, self._worker.workspace
        for i in share.tolist():
            number = int(job.numbers[i])
            image = self._decode(number, canvas.place(i))
            if image is None:
                number, image = self._substitute(job, i)
            canvas.fill(i, image, job.parameters, workspace)
            if index.labels is not None:
                job.slot.labels[i] = index.labels[number]

    def _decode(self, number: int, place: np.ndarray | None = None) -> np.ndarray | None:
        """The pixels of a sample, if possible at ``place``; None, and a note, where it cannot be decoded."""
        height, width = int(self._source.index.heights[number]), int(self._source.index.widths[number])
        if place is None:
            place = self._worker.buffer(3 * height * width)
        try:
            image = decode(self._source.read(number), place)
            if image.shape[:2] != (height, width):
                raise UndecodableImageError(
                    f"size {image.shape[0]}x{image.shape[1]} is not the {height}x{width} of its header"
                )
            return image
        except (UndecodableImageError, OSError) as error:
            self._bad_images.record(self._source.describe(number), str(error))
            return None

    def _substitute(self, job: _Job, i: int) -> tuple[int, np.ndarray]:
        """The next sample of the order that decodes, drawn with the keys of the sample that failed."""
        for ahead in range(1, self._plan.count):
            position = (int(job.positions[i]) + ahead) % self._plan.count
            number = int(self._plan.samples(job.epoch, np.array([position]))[0])
            image = self._decode(number)
            if image is None:
                continue
            for group, views, parameters in zip(
                self._groups, self._view_numbers, job.parameters, strict=True
            ):
                parameters[:, i : i + 1] = draw(
                    group.spec,
                    seed=self._plan.seed,
                    epoch=job.epoch,
                    samples=self._source.index.sample_ids[job.numbers[i : i + 1]],
                    heights=np.array(image.shape[:1], np.int32),
                    widths=np.array(image.shape[1:2], np.int32),
                    views=views,
                )
            return number, image
        raise UserError(f"none of the {self._plan.count} images can be decoded")
