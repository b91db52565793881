"""Slow storage: each window of the order "blocks" is read in whole runs, before its samples are needed.

The order alone leaves it to chance what the disk does. Here a thread sweeps over the runs of the window to
come, in the order of the file, while the samples of the present one are taken from memory (the page cache,
which must hold two windows).
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from pipelines.plan.plan import Plan
from pipelines.sources.source import Fetches, ReadsAhead


class ReadAhead:
    """Keeps one window ahead of a loader.

    Args:
        source: what is read.
        plan: of the order "blocks".
    """

    def __init__(self, source: ReadsAhead, plan: Plan) -> None:
        self._source, self._plan = source, plan
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._closed, self._closing = threading.Event(), threading.Lock()
        self._tasks: dict[tuple[int, int], Future[None]] = {}  # by epoch and window

    def reach(self, step: int) -> None:
        """Wait until the samples of a step have been read, and begin with the window after them."""
        epoch, positions = step // self._plan.batches_per_epoch, self._plan.positions(step)
        order = self._plan.block_order(epoch)
        first, last = order.window(int(positions[0])), order.window(int(positions[-1]))
        needed = [(epoch, window) for window in range(first, last + 1)]
        ends = last == order.window(self._plan.count - 1)
        after = (epoch + 1, 0) if ends else (epoch, last + 1)
        windows = [*needed, after]
        with self._closing:
            if self._closed.is_set():
                return
            if isinstance(self._source, Fetches) and not self._tasks.keys() >= set(windows):
                runs = [self._plan.block_order(of).runs(window) for of, window in windows]
                self._source.hold(np.concatenate(runs))
            self._tasks = {
                window: self._tasks.get(window) or self._pool.submit(self._read, *window)
                for window in windows
            }
        for window in needed:
            self._tasks[window].result()

    def close(self) -> None:
        """End the thread, at the latest after the run that it is reading."""
        with self._closing:
            self._closed.set()
        self._pool.shutdown(cancel_futures=True)
        if isinstance(self._source, Fetches):
            self._source.hold(np.empty((0, 2), np.int64))

    def _read(self, epoch: int, window: int) -> None:
        for first, end in self._plan.block_order(epoch).runs(window).tolist():
            if self._closed.is_set():
                return
            try:
                self._source.read_ahead(first, end)
            except OSError:
                return  # whoever reads the sample itself will say so
