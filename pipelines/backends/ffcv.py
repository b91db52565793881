"""The FFCV backend: a ``.beton`` through FFCV's own Loader, with our operation as its decoder.

FFCV reads, decodes each image once, and runs batches ahead; our renderer, called from its compiled code,
makes the views (``pipelines.backends.ffcv_decoder``). Samples, labels and parameters are those of
``pipelines.backends.request``, and FFCV's thread is fed with them batch by batch: it has no say in the order,
the share of a rank, the step to begin with, or the last batch of an epoch.

What its decoder finds fault with goes to the CPU backend, a batch at a time, with its substitutes and its
notes of bad images. For a GPU, too, the CPU renders the views, which are then copied.

Images that are stored as pixels give the very views of the CPU backend. JPEGs are decoded by libjpeg's fast
cosine transform, to the bit, while the CPU backend takes the accurate one. Differences of two photographs, in
levels of 255:

                   of pixels: mean    max    of views: mean    max
    quality 75                0.91      4              0.76      9
    quality 90                0.96      6              0.79     10
    quality 95                1.18     16              0.93     19
    quality 100               1.58     31              0.98     21

    python -m pytest -s tests/pipelines/test_ffcv.py -k cosine
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from itertools import takewhile
from pathlib import Path
from queue import Empty
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numba import config

from pipelines.backends.ffcv_decoder import ViewLayout, open_loader, settings_kept
from pipelines.backends.products import Views, to_device
from pipelines.backends.read_ahead import ReadAhead
from pipelines.backends.request import Request, Requests
from pipelines.backends.threads import ThreadedLoader
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages
from pipelines.plan.plan import Plan
from pipelines.render.finish import NumberFormat
from pipelines.sources import Source
from pipelines.sources.beton.beton import BetonSource
from pipelines.sources.source import ReadsAhead
from pipelines.views import ViewGroup


class FfcvLoader:
    """Batches made by FFCV's Loader (a ``Loader``).

    Args:
        source: a ``BetonSource`` of one file.
        groups: the views of a sample.
        plan: which samples form which batch.
        number_format: of the views.
        start_step: the first step to load; batches end before ``stop_step``.
        bad_images: takes note of what cannot be decoded.
        workers: threads of FFCV's compiled code, at most the cores; 0 takes every core.
        prefetch: batches under way beside the one in use; FFCV has no fewer than 2.
        device: where batches are handed over.

    Raises:
        UserError: FFCV cannot be imported, or the source is something else.
    """

    def __init__(
        self,
        source: Source,
        groups: tuple[ViewGroup, ...],
        plan: Plan,
        *,
        number_format: NumberFormat,
        start_step: int,
        stop_step: int,
        bad_images: BadImages,
        workers: int = 0,
        prefetch: int = 3,
        device: torch.device,
    ) -> None:
        self._requests = Requests(source.index, groups, plan)
        path = _path_of(source)
        missing = ffcv_missing()
        if missing is not None:
            raise UserError(f"{missing}, or choose --pipeline cpu, which reads {path.name} too")
        self._source, self._groups, self._plan = source, groups, plan
        self._number_format = number_format
        self._next_step, self._stop_step = start_step, stop_step
        self._bad_images, self._device = bad_images, device
        cores: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
        self._workers = min(workers or cores, cores)  # FFCV takes no more
        self._layout = ViewLayout.of(groups, number_format)
        self._parameters = self._layout.table(plan.batch_size // plan.world_size)
        self._loader = open_loader(path, self._layout, self._parameters.shape[1], self._workers, prefetch)
        self._read_ahead: ReadAhead | None = None
        if plan.shuffle and plan.order == "blocks" and isinstance(source, ReadsAhead):
            self._read_ahead = ReadAhead(source, plan)
        self._run: Any = None
        self._under_way: deque[Request] = deque()
        self._copied: torch.cuda.Event | None = None
        self._cpu_backend: ThreadedLoader | None = None

    # --- what a consumer sees -------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._copied is not None:  # what FFCV writes to next
            self._copied.synchronize()
            self._copied = None
        step = self._next_step
        if step >= self._stop_step:
            raise StopIteration
        try:
            batch = self._ffcv_batch() if len(self._plan.positions(step)) else None
            if batch is None:
                batch = self._cpu_batch(step)
        except BaseException:
            self._stop()  # or FFCV would be a step ahead
            raise
        self._next_step = step + 1
        return batch

    def state_dict(self) -> dict[str, int]:
        """The step to come."""
        return {"step": self._next_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a state; what was prefetched is dropped."""
        self._stop()
        self._next_step = state["step"]

    def close(self) -> None:
        """End the workers; what was prefetched is dropped."""
        self._stop()
        if self._cpu_backend is not None:
            self._cpu_backend.close()
        if self._read_ahead is not None:
            self._read_ahead.close()

    def __enter__(self) -> FfcvLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- FFCV's thread --------------------------------------------------------------------------------------

    def _feed(self, first_step: int, torch_threads: int) -> Iterator[np.ndarray]:
        """In that thread, before each batch: its rows of the file, uint64 [B], and its parameters."""
        torch.set_num_threads(torch_threads)  # FFCV has just set another number for all threads to come
        for step in range(first_step, self._stop_step):
            if self._read_ahead is not None:
                self._read_ahead.reach(step)
            request = self._requests.of_step(step)
            count = len(request.numbers)
            if count:
                np.concatenate(request.parameters, out=self._parameters[:, :count])
                self._under_way.append(request)
                yield request.numbers.astype(np.uint64)

    def _stop(self) -> None:
        if self._run is not None:
            self._run.stop()
        self._run = None
        self._under_way.clear()

    def _ffcv_batch(self) -> Batch | None:
        """The batch to come; None where the CPU backend has to make it."""
        if self._run is None:
            feed = self._feed(self._next_step, torch.get_num_threads())
            state = self._parameters, self._layout.places, self._layout.constants
            self._run = _run_type()(self._loader, feed, state)
        ((memory, failed),) = self._run.take()
        request = self._under_way.popleft()
        return None if failed.any() else self._batch(request, memory)

    # --- finished batches -----------------------------------------------------------------------------------

    def _batch(self, request: Request, memory: np.ndarray) -> Batch:
        index, numbers = self._source.index, request.numbers
        views = self._layout.tensors(memory)
        batch = Batch(
            step=request.step,
            epoch=request.epoch,
            views=tuple(view.to(self._device, non_blocking=True) for view in views),
            sample_ids=to_device(index.sample_ids[numbers], self._device),
            labels=None if index.labels is None else to_device(index.labels[numbers], self._device),
            parameters=request.parameters,
        )
        if self._device.type == "cuda":
            self._copied = torch.cuda.current_stream(self._device).record_event()
        return batch

    def _cpu_batch(self, step: int) -> Batch:
        """A batch by the CPU backend, with its substitutes for images that cannot be decoded."""
        if self._cpu_backend is None:
            self._cpu_backend = ThreadedLoader(
                self._source,
                self._groups,
                self._plan,
                product=Views(self._number_format),
                start_step=step,
                stop_step=self._stop_step,
                bad_images=self._bad_images,
                workers=self._workers,
                prefetch=0,
                device=self._device,
            )
        self._cpu_backend.load_state_dict({"step": step})
        return next(self._cpu_backend)


# --- FFCV's side --------------------------------------------------------------------------------------------


def ffcv_missing() -> str | None:
    """Why FFCV cannot be used here, and how to install it: part of one line. None where it can."""
    try:
        with settings_kept():
            importlib.import_module("ffcv.loader")
    except (ImportError, OSError) as error:
        return (
            f"FFCV cannot be imported ({error}): install libturbojpeg, OpenCV and their headers, and then "
            "pip install -e '.[ffcv]' in the clone"
        )
    return None


def _path_of(source: Source) -> Path:
    if not isinstance(source, BetonSource):
        raise UserError(
            "--pipeline ffcv reads nothing but .beton files: write one with python -m pipelines.pack SRC "
            "NAME.beton, or choose --pipeline cpu"
        )
    if len(source.paths) != 1:
        raise UserError(
            f"--pipeline ffcv reads one .beton file, not {len(source.paths)}: join them with python -m "
            "pipelines.pack SRC NAME.beton, or choose --pipeline cpu"
        )
    return source.paths[0]


@cache
def _run_type() -> Callable[[Any, Iterator[np.ndarray], tuple[np.ndarray, ...]], Any]:
    """The type of FFCV's thread of one epoch, to which we give batches without an end."""
    base: Any = importlib.import_module("ffcv.loader.epoch_iterator").EpochIterator

    class Run(base):
        """Batches that ``feed`` gives the rows of; ``state`` is handed to the operation beside FFCV's own."""

        def __init__(self, loader: Any, feed: Iterator[np.ndarray], state: tuple[np.ndarray, ...]) -> None:
            self._feed, self._state = feed, state
            self._error: BaseException | None = None
            super().__init__(loader, ())

        def start(self) -> None:
            """Called at the end of the base's constructor."""
            self.storage_state: tuple[Any, ...] = (*self.memory_context.state, *self._state)
            self.iter_ixes = takewhile(lambda _: not self.terminate_event.is_set(), self._feed)
            super().start()

        def run(self) -> None:
            """In the thread. An error is kept for the consumer, who would wait for ever."""
            try:
                super().run()
            except BaseException as error:
                self._error = error
                self.output_queue.put(None)

        def take(self) -> Any:
            """The outcome of the pipelines for the next batch, valid until the next call."""
            try:
                return next(self)
            except StopIteration:
                raise self._error or RuntimeError("FFCV has come to an end") from None

        def stop(self) -> None:
            """End the thread: it may be waiting for room."""
            self.terminate_event.set()
            while self.is_alive():
                with suppress(Empty):
                    self.output_queue.get(timeout=0.01)

    return Run
