"""The loader of dense tasks: images of different sizes with their targets, in the keyed order, from any step.

Threads decode each image once, render its view into the batch, and let its targets ride along.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from pipelines.backends.request import next_decodable
from pipelines.backends.step_loader import StepLoader, StepLoaderConfig
from pipelines.batch import to_device
from pipelines.command.errors import UserError
from pipelines.command.progress import end_tasks
from pipelines.dense.dense_batch import DenseBatch
from pipelines.dense.renderer import DenseBuffer, Renderer
from pipelines.dense.ride import ride
from pipelines.dense.view import DenseView, DrawnView, draw_views
from pipelines.targets import Targets, target_kinds_of, targets_of


@dataclass(frozen=True, kw_only=True, eq=False)
class DenseLoaderConfig(StepLoaderConfig):
    """Arguments of ``open_dense_loader``; the images of a ``TargetSource`` of any kinds have targets."""

    view: DenseView
    """The view of a sample."""
    with_targets: bool = True
    """Let targets ride along; False: an image's class alone."""
    divisor: int = 32
    """Height and width of a batch are multiples of it, pixels: the stride of a network."""
    prefetch: int = 1
    """Batches under way beside the one in use; 16 images of 800 x 1333 pixels take 205 MB or more."""


def open_dense_loader(config: DenseLoaderConfig) -> DenseLoader:
    """Open the batches of a plan. Close the loader, or use it as a context."""
    return DenseLoader(config)


@dataclass(frozen=True, eq=False)
class _Job:
    """A step under way; threads replace what a substitute is shown for."""

    step: int
    epoch: int
    positions: np.ndarray
    indices: np.ndarray
    buffer: DenseBuffer
    shown: np.ndarray
    views: list[DrawnView]
    targets: list[Targets | None]
    tasks: list[Future[None]]


class DenseLoader(StepLoader[_Job, DenseBatch]):
    """Batches of a plan, of the type ``DenseBatch``.

    Args:
        config: what is loaded.
    """

    def __init__(self, config: DenseLoaderConfig) -> None:
        super().__init__(config)
        self._config, self._source = config, config.source
        self._has_targets = config.with_targets and bool(target_kinds_of(config.source))
        self._renderer = Renderer(config.view)
        pinned = config.device.type == "cuda"
        self._free = [DenseBuffer(pinned=pinned) for _ in range(config.prefetch + 1)]
        self._in_use: DenseBuffer | None = None
        workers = config.workers or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="dense-loader")

    def close(self) -> None:
        """End the threads; what was prefetched is dropped."""
        self._drop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._read_ahead is not None:
            self._read_ahead.close()

    def _begin(self, step: int) -> _Job:
        plan, index = self._config.plan, self._source.index
        epoch, positions = step // plan.batches_per_epoch, plan.positions(step)
        indices = plan.samples(epoch, positions)
        # an unreadable header has size 0: such a sample is drawn again with its substitute's size
        heights, widths = np.maximum(index.heights[indices], 1), np.maximum(index.widths[indices], 1)
        views = self._draw(epoch, indices, heights, widths)
        buffer = self._free.pop()
        buffer.begin(len(indices), self._renderer.batch_size(views, self._config.divisor))
        targets: list[Targets | None] = [None] * len(indices)
        job = _Job(step, epoch, positions, indices, buffer, indices.copy(), views, targets, [])
        job.tasks.extend(self._pool.submit(self._fill, job, slot) for slot in range(len(indices)))
        return job

    def _finish(self, job: _Job) -> DenseBatch:
        for task in job.tasks:
            task.result()
        index, config, places = self._source.index, self._config, [view.placement for view in job.views]
        images = job.buffer.hand_over(self._renderer.batch_size(job.views, config.divisor), config.device)
        labels = None if index.labels is None else to_device(index.labels[job.shown], config.device)
        batch = DenseBatch(
            step=job.step,
            epoch=job.epoch,
            images=images,
            sizes=np.array([(place.height, place.width) for place in places], np.int64).reshape(-1, 2),
            original_sizes=np.stack([index.heights[job.shown], index.widths[job.shown]], 1).astype(np.int64),
            targets=tuple(targets for targets in job.targets if targets is not None),
            labels=labels,
            sample_ids=index.sample_ids[job.indices],
            indices=job.shown.copy(),
        )
        self._in_use = job.buffer
        return batch

    def _release(self) -> None:
        if self._in_use is not None:
            self._in_use.wait_until_copied()
            self._free.append(self._in_use)
            self._in_use = None

    def _drop(self) -> None:
        jobs = [*self._under_way]
        self._under_way.clear()
        end_tasks([task for job in jobs for task in job.tasks])
        self._free += [job.buffer for job in jobs]

    def _draw(
        self, epoch: int, indices: np.ndarray, heights: np.ndarray, widths: np.ndarray
    ) -> list[DrawnView]:
        samples, seed = self._source.index.sample_ids[indices], self._config.plan.seed
        return draw_views(
            self._config.view, seed=seed, epoch=epoch, samples=samples, heights=heights, widths=widths
        )

    # --- in the threads -------------------------------------------------------------------------------------

    def _fill(self, job: _Job, slot: int) -> None:
        index = int(job.indices[slot])
        image = self._decode(index)
        fits = image is not None
        if image is None:
            index, image = next_decodable(
                self._config.plan, job.epoch, int(job.positions[slot]), self._decode
            )
            sides = (np.array([side]) for side in image.shape[:2])
            job.shown[slot] = index
            (job.views[slot],) = self._draw(job.epoch, job.indices[slot : slot + 1], *sides)
        view = job.views[slot]
        out = job.buffer.slot(slot) if fits else job.buffer.misfit(slot, view.placement)
        self._renderer.render(image, view, out)
        job.targets[slot] = ride(self._targets(index, image), view.placement)

    def _decode(self, index: int) -> np.ndarray | None:
        return self._renderer.decode(self._source, index, self._config.bad_images)

    def _targets(self, index: int, image: np.ndarray) -> Targets:
        """Targets of an image, with its class; where there are none, or none are asked for, nothing else."""
        height, width = image.shape[:2]
        targets = Targets(height=height, width=width)
        if self._has_targets:
            targets = targets_of(self._source, index)
        if (targets.height, targets.width) != (height, width):
            raise UserError(
                f"labels of {self._source.describe(index)} are for {targets.height}x{targets.width} pixels, "
                f"and it has {height}x{width}: give the labels of these images"
            )
        labels = self._source.index.labels
        return targets if labels is None else replace(targets, label=int(labels[index]))
