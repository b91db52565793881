"""The DALI backend: NVIDIA's decoder, on a GPU the images' and on a CPU the same graph, for our views.

A sample is decoded once. The views are rendered by our own kernels from DALI's pixels, so that order, ids,
labels and parameters are those of every other backend.

Threads of ours read the encoded images ahead; DALI decodes ahead. What DALI cannot do is left to the CPU
backend, a batch at a time: images that are no JPEGs of one or three colors, stored pixels, JPEGs that are cut
off or of another size than indexed, and what DALI's decoder refuses. It does not refuse a JPEG with damage in
the middle that the CPU backend would replace.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from pipelines.backends.backend import Backend, Finished, LoaderConfig
from pipelines.backends.buffers import ViewBuffer
from pipelines.backends.dali_graph import (
    ENCODED,
    blames_an_image,
    decoding_pipeline,
    flat_images,
    import_dali,
)
from pipelines.backends.request import Request, Requests
from pipelines.backends.threads import Worker, render_on_device
from pipelines.batch import Images
from pipelines.command.progress import end_tasks
from pipelines.decode.decode import MAX_PIXELS
from pipelines.decode.header import Encoded, UndecodableImageError, is_jpeg, jpeg_header

_END_OF_IMAGE = b"\xff\xd9"


@dataclass(eq=False)
class _Ticket:
    request: Request
    reading: list[Future[list[np.ndarray | None]]]  # DALI reads from the memory of its results
    place: Literal["reading", "dali", "cpu"] = "reading"

    def is_read(self) -> bool:
        """True if all its images are there."""
        return all(task.done() and task.exception() is None for task in self.reading)


class DaliBackend(Backend):
    """Batches decoded by DALI and rendered by our kernels.

    Raises:
        UserError: DALI cannot be imported.
    """

    requires: ClassVar[tuple[str, ...]] = ("nvidia.dali",)

    def __init__(self, config: LoaderConfig, requests: Requests) -> None:
        import_dali()
        self._config, self._source = config, config.source
        self._workers = config.workers or len(os.sched_getaffinity(0))
        self._buffer: ViewBuffer | None = None
        self._worker = Worker()
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="loader")
        self._pipeline: Any = None
        self._under_way: deque[_Ticket] = deque()
        self._in_use: tuple[Any, ...] = ()  # the memory that the last batch was or is made from

    def start(self, request: Request) -> _Ticket:
        """Begin to read a batch."""
        shares = np.array_split(request.indices, self._workers)
        ticket = _Ticket(request, [self._pool.submit(self._read, share) for share in shares if len(share)])
        self._under_way.append(ticket)
        return ticket

    def finish(self, ticket: _Ticket) -> Finished | None:
        """DALI's pixels of a batch, rendered; None where the CPU backend has to make it."""
        self._feed(ticket)
        outputs = self._outputs(ticket)
        finished = None if outputs is None else self._finished(ticket.request, outputs)
        self._under_way.popleft()
        self._feed_ahead()
        return finished

    def release(self) -> None:
        """Let go of the last batch's memory."""
        self._in_use = ()

    def drop(self) -> None:
        """Forget what is under way; what has begun is waited for."""
        end_tasks([task for ticket in self._under_way for task in ticket.reading])
        self._pipeline = None
        self._under_way.clear()

    def close(self) -> None:
        """End the threads, and DALI's."""
        self.drop()
        self.release()
        self._pool.shutdown(wait=True, cancel_futures=True)

    # --- reading and decoding -------------------------------------------------------------------------------

    def _read(self, indices: np.ndarray) -> list[np.ndarray | None]:
        """Read per sample a JPEG that DALI decodes as we do, uint8 [n], or None."""
        index, source = self._source.index, self._source
        images = []
        for sample in indices.tolist():
            try:
                data = source.read(sample)
            except OSError:
                data = b""
            suits = suits_dali(data, int(index.heights[sample]), int(index.widths[sample]))
            images.append(np.frombuffer(data, np.uint8) if suits else None)
        return images

    def _feed_ahead(self) -> None:
        for ticket in self._under_way:
            if not ticket.is_read():
                return
            self._feed(ticket)

    def _feed(self, ticket: _Ticket) -> None:
        """Have DALI begin with a batch that suits it, once it is read."""
        if ticket.place != "reading":
            return
        images = [image for task in ticket.reading for image in task.result()]
        if not images or any(image is None for image in images):
            ticket.place = "cpu"
            return
        if self._pipeline is None:
            self._pipeline = decoding_pipeline(self._config.samples, self._workers, self._config.device)
        self._pipeline.feed_input(ENCODED, images)
        self._pipeline.schedule_run()
        ticket.place = "dali"

    def _outputs(self, ticket: _Ticket) -> tuple[Any, ...] | None:
        """DALI's outputs of a batch; None where the CPU backend has to make it."""
        if ticket.place == "cpu":
            return None
        device = self._config.device
        stream = torch.cuda.current_stream(device) if device.type == "cuda" else None
        try:
            outputs = tuple(self._pipeline.outputs(cuda_stream=stream))
        except RuntimeError as error:
            self._restart()
            if not blames_an_image(error):
                raise
            return None
        self._in_use = (ticket, *outputs)
        return outputs

    def _restart(self) -> None:
        """Begin anew after a failure; what DALI had in hand has to be fed again."""
        self._pipeline = None
        for ticket in self._under_way:
            if ticket.place == "dali":
                ticket.place = "reading"

    # --- rendering ------------------------------------------------------------------------------------------

    def _finished(self, request: Request, outputs: tuple[Any, ...]) -> Finished | None:
        index, indices = self._source.index, request.indices
        sizes = np.stack([index.heights[indices], index.widths[indices]], 1)
        if not np.array_equal(outputs[0].as_array()[:, :2], sizes):
            return None  # DALI reads an orientation otherwise than the index
        images = flat_images(outputs[1], sizes, self._config.device)
        if self._config.device.type == "cuda":
            return Finished(render_on_device(images, request, self._config), indices)
        return Finished(self._render(request, images), indices)

    def _render(self, request: Request, images: Images) -> tuple[torch.Tensor, ...]:
        if self._buffer is None:
            config = self._config
            self._buffer = ViewBuffer(config.groups, config.samples, config.dtype, pinned=False)
        buffer = self._buffer
        buffer.begin(images.heights.numpy(), images.widths.numpy())
        shares = np.array_split(np.arange(len(request.indices)), self._workers)
        for task in [self._pool.submit(self._fill, buffer, request, images, share) for share in shares]:
            task.result()
        return buffer.hand_over(self._config.device)

    def _fill(self, buffer: ViewBuffer, request: Request, images: Images, share: np.ndarray) -> None:
        for slot in share.tolist():
            begin, height, width = (int(x[slot]) for x in (images.offsets, images.heights, images.widths))
            image = images.pixels[begin : begin + 3 * height * width].view(height, width, 3).numpy()
            buffer.fill(slot, image, request.parameters, self._worker.workspace)


def suits_dali(data: Encoded | np.ndarray, height: int, width: int) -> bool:
    """True if DALI decodes a sample as the CPU backend does, as far as its header and its end can tell.

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
