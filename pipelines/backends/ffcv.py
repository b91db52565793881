"""The FFCV backend: a ``.beton`` through FFCV's own Loader, with our operation as its decoder.

FFCV reads, decodes each image once, and runs batches ahead; our renderer, called from its compiled code,
makes the views (``pipelines.backends.ffcv_decoder``). Samples, labels and parameters are those of
``pipelines.backends.request``, and FFCV's thread is fed with them batch by batch: it has no say in the order,
the share of a rank, the step to begin with, or the last batch of an epoch.

What its decoder finds fault with is left to the CPU backend, a batch at a time. For a GPU, too, the CPU
renders the views, which are then copied.

The file is read, not mapped as FFCV does it: where one is cut short in place, reading a map would end the
process (SIGBUS). Here such images are left to the CPU backend, which says what happened.

Images that are stored as pixels give the very views of the CPU backend. JPEGs are decoded by libjpeg's fast
cosine transform, to the bit, while the CPU backend takes the accurate one. Differences of two photographs, in
levels of 255:

                   of pixels: mean    max    of views: mean    max
    quality 75                0.91      4              0.76      9
    quality 90                0.96      6              0.79     10
    quality 95                1.18     16              0.93     19
    quality 100               1.58     31              0.98     21

    python -m pytest -s tests/pipelines/backends/test_ffcv.py -k cosine
"""

from __future__ import annotations

import importlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, ClassVar

import numpy as np
import torch
from numba import config as numba_config

from pipelines.backends.backend import Backend, Finished, LoaderConfig
from pipelines.backends.ffcv_decoder import ViewLayout, open_loader, settings_kept
from pipelines.backends.request import Request, Requests
from pipelines.command.errors import UserError
from pipelines.sources import Source
from pipelines.sources.beton.beton import BetonSource


class FfcvBackend(Backend):
    """Batches made by FFCV's Loader from a ``BetonSource`` of one file.

    Raises:
        UserError: FFCV cannot be imported, or the source is something else.
    """

    requires: ClassVar[tuple[str, ...]] = ("ffcv.loader",)
    stand_in: ClassVar[tuple[str, str] | None] = "cpu", "our own reader of .beton files serves instead"

    def __init__(self, config: LoaderConfig, requests: Requests) -> None:
        path = _path_of(config.source)
        missing = self.missing()
        if missing is not None:
            raise UserError(f"{missing}, or choose --pipeline cpu, which reads {path.name} too")
        self._config = config
        cores: int = numba_config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
        workers = min(config.workers or cores, cores)  # FFCV takes no more
        self._layout = ViewLayout.of(config.groups, config.dtype)
        self._parameters = self._layout.table(config.samples)
        self._loader = open_loader(path, self._layout, config.samples, workers, config.prefetch)
        self._path, self._size = path, path.stat().st_size
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._run: Any = None
        self._requests: SimpleQueue[Request] = SimpleQueue()  # that FFCV's thread has not taken yet
        self._under_way: deque[Request] = deque()
        self._copied: torch.cuda.Event | None = None

    @classmethod
    def missing(cls) -> str | None:
        """Reason that FFCV cannot be used here, and its remedy: part of one line. None where it can."""
        try:
            with settings_kept():
                importlib.import_module("ffcv.loader")
        except (ImportError, OSError) as error:
            return (
                f"FFCV cannot be imported ({error}): install libturbojpeg, OpenCV and their headers, and "
                "then pip install -e '.[ffcv]' in the clone"
            )
        return None

    def start(self, request: Request) -> Request:
        """Feed FFCV's thread, which begins when it has room; a batch without samples is none of its."""
        if len(request.indices):
            if self._run is None:
                rows = partial(_rows_of, self._requests, self._rows, torch.get_num_threads())
                state = self._parameters, self._layout.spans, self._layout.constants
                if self._descriptor < 0:  # it was closed
                    self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                file = np.array([self._descriptor, self._size])
                self._run = _run_type()(self._loader, rows, file, state)
            self._under_way.append(request)
            self._requests.put(request)
        return request

    def finish(self, ticket: Request) -> Finished | None:
        """FFCV's batch; None where it finds fault with an image, or has none."""
        if not len(ticket.indices):
            return None
        ((memory, failed),) = self._run.take()
        self._under_way.popleft()
        if failed.any():
            return None
        device = self._config.device
        views = tuple(view.to(device, non_blocking=True) for view in self._layout.tensors(memory))
        if device.type == "cuda":
            self._copied = torch.cuda.current_stream(device).record_event()
        return Finished(views, ticket.indices)

    def release(self) -> None:
        """Wait until the last batch is copied: FFCV writes to its memory next."""
        if self._copied is not None:
            self._copied.synchronize()
            self._copied = None

    def drop(self) -> None:
        """End FFCV's thread, and forget what it has in hand."""
        if self._run is not None:
            self._run.stop()
        self._run = None
        self._requests = SimpleQueue()
        self._under_way.clear()

    def close(self) -> None:
        """End FFCV's thread, and close the file."""
        self.drop()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _rows(self, request: Request) -> np.ndarray:
        """Lay a batch's parameters ready and return its rows in the file, uint64 [B]; in FFCV's thread."""
        np.concatenate(request.parameters, out=self._parameters[:, : len(request.indices)])
        return request.indices.astype(np.uint64)


# --- FFCV's side --------------------------------------------------------------------------------------------


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


def _rows_of(
    requests: SimpleQueue[Request],
    rows: Callable[[Request], np.ndarray],
    torch_threads: int,
    ends: threading.Event,
) -> Iterator[np.ndarray]:
    """Yield the rows of the requests as they come, until the end; runs in FFCV's thread."""
    torch.set_num_threads(torch_threads)  # FFCV has just set another number for all threads to come
    while not ends.is_set():
        with suppress(Empty):
            yield rows(requests.get(timeout=0.05))


@cache
def _run_type() -> Callable[..., Any]:
    """The type of FFCV's thread of one epoch, to which we give batches without an end."""
    base: Any = importlib.import_module("ffcv.loader.epoch_iterator").EpochIterator

    class Run(base):
        """Batches of the rows that ``feed`` gives; the operation gets ``file`` and ``state``.

        FFCV's own state is the map of the file, and the addresses and sizes of what lies in it.
        """

        def __init__(
            self,
            loader: Any,
            feed: Callable[[threading.Event], Iterator[np.ndarray]],
            file: np.ndarray,
            state: tuple[np.ndarray, ...],
        ) -> None:
            self._feed, self._file, self._state = feed, file, state
            self._error: BaseException | None = None
            super().__init__(loader, ())

        def start(self) -> None:
            """Start the thread; called at the end of the base's constructor."""
            _, addresses, lengths = self.memory_context.state
            self.storage_state: tuple[np.ndarray, ...] = (self._file, addresses, lengths, *self._state)
            self.iter_ixes = self._feed(self.terminate_event)
            super().start()

        def run(self) -> None:
            """Run in the thread. An error is kept for the consumer, who would wait for ever."""
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
