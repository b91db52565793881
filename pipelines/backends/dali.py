"""The DALI backend: NVIDIA's decoder, on a GPU the images' and on a CPU the same graph, for our views.

A sample is decoded once. The views follow from the parameters that ``pipelines.backends.request`` draws, so
that order, ids, labels and parameters are those of every other backend. They are rendered by our own kernels
from DALI's pixels ("fused"), or by DALI's operations ("dali"), where Triton is not at hand.

Threads of ours read the encoded images ahead; DALI decodes ahead. What DALI cannot do goes to the CPU
backend, a batch at a time, with its substitutes and its notes of bad images: images that are no JPEGs of one
or three colours, stored pixels, JPEGs that are cut off or of another size than indexed, and what DALI's
decoder refuses. It does not refuse a JPEG with damage in the middle that the CPU backend would replace.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import numpy as np
import torch

from pipelines.backends.dali_graph import (
    ARGUMENTS,
    ENCODED,
    blames_an_image,
    decoding_pipeline,
    flat_images,
    import_dali,
    rendering_pipeline,
    view_arguments,
    view_tensors,
)
from pipelines.backends.products import TORCH_TYPES, Canvas, Views, to_device
from pipelines.backends.read_ahead import ReadAhead
from pipelines.backends.request import Request, Requests
from pipelines.backends.threads import ThreadedLoader
from pipelines.batch import Batch, Images
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages
from pipelines.decode.decode import MAX_PIXELS
from pipelines.decode.header import Encoded, UndecodableImageError, is_jpeg, jpeg_header
from pipelines.plan.plan import Plan
from pipelines.render.cpu import Workspace
from pipelines.render.finish import NumberFormat
from pipelines.sources import Source
from pipelines.sources.source import ReadsAhead
from pipelines.views import ViewGroup

Renderer = Literal["fused", "dali"]
_END_OF_IMAGE = b"\xff\xd9"


@dataclass(eq=False)
class _Job:
    """A batch under way."""

    request: Request
    reading: list[Future[list[np.ndarray | None]]]  # DALI reads from the memory of its results
    place: Literal["reading", "dali", "cpu"] = "reading"

    def is_read(self) -> bool:
        """Whether all its images are there."""
        return all(task.done() and task.exception() is None for task in self.reading)


class _Worker(threading.local):
    """What each thread keeps."""

    def __init__(self) -> None:
        self.workspace = Workspace()


class DaliLoader:
    """Batches decoded by DALI.

    Args:
        source: where the encoded images come from.
        groups: the views of a sample.
        plan: which samples form which batch.
        renderer: "fused": our kernels, from DALI's pixels; "dali": DALI's operations.
        number_format: of the views; on a GPU "fused" renders floats only.
        start_step: the first step to load; batches end before ``stop_step``.
        bad_images: takes note of what cannot be decoded.
        workers: threads of ours, and of DALI's; 0 takes every core.
        prefetch: batches under way beside the one in use; a decoded one lies on ``device``.
        device: where DALI works and batches are handed over.

    Raises:
        UserError: DALI is not installed, or cannot render what the views ask for.
    """

    def __init__(
        self,
        source: Source,
        groups: tuple[ViewGroup, ...],
        plan: Plan,
        *,
        renderer: Renderer = "fused",
        number_format: NumberFormat,
        start_step: int,
        stop_step: int,
        bad_images: BadImages,
        workers: int = 0,
        prefetch: int = 3,
        device: torch.device,
    ) -> None:
        import_dali()
        if renderer == "dali" and any(group.spec.color_space != "rgb" for group in groups):
            raise UserError("DALI's operations do not make Lab colours: render with our kernels (fused)")
        self._source, self._groups, self._plan = source, groups, plan
        self._requests = Requests(source.index, groups, plan)
        self._renderer, self._number_format = renderer, number_format
        self._next_step, self._stop_step = start_step, stop_step
        self._bad_images, self._device, self._prefetch = bad_images, device, prefetch
        self._workers = workers or len(os.sched_getaffinity(0))
        self._samples = plan.batch_size // plan.world_size
        self._canvas: Canvas | None = None
        self._worker = _Worker()
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="loader")
        self._read_ahead: ReadAhead | None = None
        if plan.shuffle and plan.order == "blocks" and isinstance(source, ReadsAhead):
            self._read_ahead = ReadAhead(source, plan)
        self._pipeline: Any = None
        self._under_way: deque[_Job] = deque()
        self._in_use: tuple[Any, ...] = ()  # the memory that the last batch was or is made from
        self._cpu_backend: ThreadedLoader | None = None

    # --- what a consumer sees -------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        self._in_use = ()
        self._start_reading()
        if not self._under_way:
            raise StopIteration
        job = self._under_way[0]
        self._feed(job)
        outputs = self._outputs(job)
        batch = self._cpu_batch(job.request) if outputs is None else self._batch(job.request, outputs)
        self._under_way.popleft()
        self._next_step = job.request.step + 1
        self._feed_ahead()
        return batch

    def state_dict(self) -> dict[str, int]:
        """The step to come."""
        return {"step": self._next_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a state; what was prefetched is dropped."""
        self._drop_jobs()
        self._next_step = state["step"]

    def close(self) -> None:
        """End the workers and DALI's; what was prefetched is dropped."""
        self._drop_jobs()
        self._in_use = ()
        if self._cpu_backend is not None:
            self._cpu_backend.close()
        if self._read_ahead is not None:
            self._read_ahead.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> DaliLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- batches under way ----------------------------------------------------------------------------------

    def _start_reading(self) -> None:
        step = self._under_way[-1].request.step + 1 if self._under_way else self._next_step
        while len(self._under_way) <= self._prefetch and step < self._stop_step:
            if self._read_ahead is not None:
                self._read_ahead.reach(step)
            request = self._requests.of_step(step)
            shares = np.array_split(request.numbers, self._workers)
            tasks = [self._pool.submit(self._read, share) for share in shares if len(share)]
            self._under_way.append(_Job(request, tasks))
            step += 1

    def _read(self, numbers: np.ndarray) -> list[np.ndarray | None]:
        """For each sample a JPEG that DALI decodes as we do, uint8 [n], or None."""
        index, source = self._source.index, self._source
        images = []
        for number in numbers.tolist():
            try:
                data = source.read(number)
            except OSError:
                data = b""
            suits = suits_dali(data, int(index.heights[number]), int(index.widths[number]))
            images.append(np.frombuffer(data, np.uint8) if suits else None)
        return images

    def _feed_ahead(self) -> None:
        for job in self._under_way:
            if not job.is_read():
                return
            self._feed(job)

    def _feed(self, job: _Job) -> None:
        """Have DALI begin with a batch that suits it, once it is read."""
        if job.place != "reading":
            return
        images = [image for task in job.reading for image in task.result()]
        if not images or any(image is None for image in images):
            job.place = "cpu"
            return
        if self._pipeline is None:
            self._pipeline = self._build()
        self._pipeline.feed_input(ENCODED, images)
        if self._renderer == "dali":
            self._pipeline.feed_input(ARGUMENTS, view_arguments(job.request.parameters, self._groups))
        self._pipeline.schedule_run()
        job.place = "dali"

    def _build(self) -> Any:
        if self._renderer == "fused":
            return decoding_pipeline(self._samples, self._workers, self._device)
        return rendering_pipeline(
            self._groups, self._number_format, self._samples, self._workers, self._device
        )

    def _outputs(self, job: _Job) -> tuple[Any, ...] | None:
        """What DALI made of a batch; None where the CPU backend has to make it."""
        if job.place == "cpu":
            return None
        stream = torch.cuda.current_stream(self._device) if self._device.type == "cuda" else None
        try:
            outputs = tuple(self._pipeline.outputs(cuda_stream=stream))
        except RuntimeError as error:
            self._restart()
            if not blames_an_image(error):
                raise
            job.place = "cpu"
            return None
        job.place = "cpu"  # should what follows be interrupted: DALI has let go of it
        self._in_use = (job, *outputs)
        return outputs

    def _restart(self) -> None:
        """After a failure; what DALI had in hand has to be fed again."""
        self._pipeline = None
        for job in self._under_way:
            if job.place == "dali":
                job.place = "reading"

    def _drop_jobs(self) -> None:
        tasks = [task for job in self._under_way for task in job.reading]
        for task in tasks:
            task.cancel()
        for task in tasks:
            if not task.cancelled():
                task.exception()
        self._pipeline = None
        self._under_way.clear()

    # --- finished batches -----------------------------------------------------------------------------------

    def _batch(self, request: Request, outputs: tuple[Any, ...]) -> Batch:
        index, numbers = self._source.index, request.numbers
        sizes = np.stack([index.heights[numbers], index.widths[numbers]], 1)
        if not np.array_equal(outputs[0].as_array()[:, :2], sizes):
            return self._cpu_batch(request)  # DALI reads an orientation otherwise than the index
        if self._renderer == "dali":
            views = view_tensors(outputs[1:], self._groups, self._number_format)
        else:
            views = self._render(request, flat_images(outputs[1], sizes, self._device))
        return Batch(
            step=request.step,
            epoch=request.epoch,
            views=views,
            sample_ids=to_device(index.sample_ids[numbers], self._device),
            labels=None if index.labels is None else to_device(index.labels[numbers], self._device),
            parameters=request.parameters,
        )

    def _render(self, request: Request, images: Images) -> tuple[torch.Tensor, ...]:
        if self._device.type == "cuda":
            from pipelines.render.gpu import render_views

            number_type = TORCH_TYPES[self._number_format]
            return tuple(
                render_views(images, table, group.spec, number_type)
                for table, group in zip(request.parameters, self._groups, strict=True)
            )
        if self._canvas is None:
            self._canvas = Views(self._number_format).canvas(self._groups, self._samples, pinned=False)
        self._canvas.begin(images.heights.numpy(), images.widths.numpy())
        shares = np.array_split(np.arange(len(request.numbers)), self._workers)
        for task in [self._pool.submit(self._fill, self._canvas, request, images, share) for share in shares]:
            task.result()
        return self._canvas.hand_over(self._device)[0]

    def _fill(self, canvas: Canvas, request: Request, images: Images, share: np.ndarray) -> None:
        for b in share.tolist():
            begin, height, width = (int(x[b]) for x in (images.offsets, images.heights, images.widths))
            image = images.pixels[begin : begin + 3 * height * width].view(height, width, 3).numpy()
            canvas.fill(b, image, request.parameters, self._worker.workspace)

    def _cpu_batch(self, request: Request) -> Batch:
        """The same batch by the CPU backend, with its substitutes for images that cannot be decoded."""
        if self._cpu_backend is None:
            self._cpu_backend = ThreadedLoader(
                self._source,
                self._groups,
                self._plan,
                product=Views(self._number_format),
                start_step=request.step,
                stop_step=self._stop_step,
                bad_images=self._bad_images,
                workers=self._workers,
                prefetch=0,
                device=self._device,
            )
        self._cpu_backend.load_state_dict({"step": request.step})
        return next(self._cpu_backend)


def suits_dali(data: Encoded | np.ndarray, height: int, width: int) -> bool:
    """Whether DALI decodes a sample as the CPU backend does, as far as its header and its end can tell.

    Args:
        data: as a source reads it.
        height, width: of the upright image, as indexed, pixels.
    """
    if isinstance(data, np.ndarray) or not is_jpeg(data) or data[-2:] != _END_OF_IMAGE:
        return False
    try:
        header = jpeg_header(data)
    except UndecodableImageError:
        return False
    size = (header.height, header.width) if header.orientation < 5 else (header.width, header.height)
    return header.components in (1, 3) and size == (height, width) and height * width <= MAX_PIXELS
