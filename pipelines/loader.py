"""The CPU backend: threads decode each image once and render all its views straight into the batch.

Decoders and kernels release the GIL, so threads are enough: no processes, no pickling, no copies. A batch
is split into as many tasks as there are workers; ``prefetch`` batches are under way while one is in use.
What is loaded depends on (seed, step) alone, so the whole state of a loader is the step to come.
"""

from __future__ import annotations

import math
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
from pipelines.read_ahead import ReadAhead, ReadsAhead
from pipelines.render.cpu import Workspace, render_constants, render_views
from pipelines.sources import Source
from pipelines.views import ViewGroup, draw


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


@dataclass(frozen=True, eq=False)
class _Slot:
    """The reused memory of one batch."""

    views: tuple[torch.Tensor, ...]  # a group each, float32 [K, B, S, S, 3]
    labels: torch.Tensor


@dataclass(frozen=True, eq=False)
class _Job:
    """A batch under way."""

    step: int
    epoch: int
    slot: _Slot
    views: tuple[torch.Tensor, ...]  # as much of the slot's as the batch fills, [K, B, S, S, 3]
    positions: np.ndarray
    numbers: np.ndarray
    parameters: tuple[np.ndarray, ...]


class ThreadedLoader:
    """Batches rendered by threads on the CPU, float32, in the memory of ``device``'s host.

    Args:
        source: where the encoded images come from.
        groups: the views of a sample.
        plan: which samples form which batch.
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
        self._constants = tuple(render_constants(group.spec, "float32") for group in groups)
        firsts = np.cumsum([0, *(group.num_views for group in groups)])
        self._view_numbers = tuple(
            range(first, first + group.num_views) for first, group in zip(firsts, groups, strict=False)
        )
        self._read_ahead: ReadAhead | None = None
        if plan.shuffle and plan.order == "blocks" and isinstance(source, ReadsAhead):
            self._read_ahead = ReadAhead(source, plan)
        self._workspace = threading.local()
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="loader")
        self._free = [self._new_slot() for _ in range(prefetch + 1)]
        self._in_use: _Slot | None = None
        self._under_way: deque[tuple[_Job, list[Future[None]]]] = deque()

    # --- what a consumer sees -------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._in_use is not None:
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

    def _new_slot(self) -> _Slot:
        share = self._plan.batch_size // self._plan.world_size
        views = tuple(
            torch.empty(
                (group.num_views, share, group.spec.size, group.spec.size, 3),
                pin_memory=self._device.type == "cuda",
            )
            for group in self._groups
        )
        return _Slot(views, torch.empty(share, dtype=torch.int64))

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
        views = tuple(_first_samples(memory, len(positions)) for memory in slot.views)
        return _Job(step, epoch, slot, views, positions, numbers, parameters)

    def _hand_over(self, job: _Job) -> Batch:
        labels = job.slot.labels[: len(job.positions)].clone()
        return Batch(
            step=job.step,
            epoch=job.epoch,
            views=tuple(
                view.flatten(0, 1).permute(0, 3, 1, 2).to(self._device)  # channels-last
                for view in job.views
            ),
            sample_ids=torch.from_numpy(self._source.index.sample_ids[job.numbers]).to(self._device),
            labels=labels.to(self._device) if self._source.index.labels is not None else None,
            parameters=job.parameters,
        )

    # --- in the workers -------------------------------------------------------------------------------------

    def _fill(self, job: _Job, share: np.ndarray) -> None:
        workspace = getattr(self._workspace, "value", None)
        if workspace is None:
            workspace = self._workspace.value = Workspace()
        labels = self._source.index.labels
        outputs = [views.numpy() for views in job.views]
        for i in share:
            number = int(job.numbers[i])
            image = self._decode(number)
            if image is None:
                number, image = self._substitute(job, int(i))
            for constants, table, out in zip(self._constants, job.parameters, outputs, strict=True):
                render_views(image, table, int(i), constants, out, workspace)
            if labels is not None:
                job.slot.labels[i] = int(labels[number])

    def _decode(self, number: int) -> np.ndarray | None:
        """The pixels of a sample; None, and a note, where it cannot be decoded."""
        index = self._source.index
        try:
            image = decode(self._source.read(number))
            if image.shape[:2] != (index.heights[number], index.widths[number]):
                raise UndecodableImageError(
                    f"size {image.shape[0]}x{image.shape[1]} is not the "
                    f"{index.heights[number]}x{index.widths[number]} of its header"
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


def _first_samples(memory: torch.Tensor, count: int) -> torch.Tensor:
    """A contiguous [K, count, S, S, 3] at the beginning of [K, B, S, S, 3]: an evaluation's last batch."""
    shape = (len(memory), count, *memory.shape[2:])
    return memory.flatten()[: math.prod(shape)].view(shape)
