"""The files of a remote source: fetched ahead by a few threads, held while they are needed."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from typing import BinaryIO

import numpy as np

from pipelines.sources.remote.fetch import fetch
from pipelines.sources.remote.shard_cache import Shard, ShardCache
from pipelines.sources.remote.storage import RemoteFile, Storage
from pipelines.sources.slices import most_open
from pipelines.sources.source import Fetching

_AT_A_TIME = 4  # shards that are fetched at a time
_LAST = 2  # files that stay open where the cache does not hold all: a batch lies across two


class RemoteFiles:
    """``slices.Files`` that are fetched into a cache.

    Those that ``hold`` names stay there. Where nobody says what will be needed, the file after the one that
    is opened is fetched too, and what was read may be removed to make room.
    """

    def __init__(self, where: str, files: Sequence[RemoteFile], storage: Storage, cache: ShardCache) -> None:
        self._where, self._files, self._storage, self._cache = where, files, storage, cache
        fits = sum(file.size for file in files) <= cache.capacity
        self._most_open = most_open() if fits else _LAST
        self._lock = threading.Lock()
        self._shards: OrderedDict[int, Future[Shard]] = OrderedDict()
        self._held: frozenset[int] = frozenset()
        self._waiting: deque[tuple[int, Future[Shard]]] = deque()
        self._threads = 0
        self._fetched = 0

    def open(self, file: int) -> Shard:
        """See ``Files.open``; waits for a file that is being fetched.

        Raises:
            UserError: it cannot be fetched.
        """
        while True:
            with self._lock:
                shard = self._shards.get(file)
                mine = shard is None
                if shard is None:
                    shard = self._shards[file] = Future()
                    shard.set_running_or_notify_cancel()
                    if not self._held:
                        self._begin(file + 1)
                self._shards.move_to_end(file)
                self._trim()
            if mine:
                self._fetch(file, shard)
            try:
                opened = shard.result()
            except CancelledError:  # let go before its turn, by another thread
                continue
            if mine or not opened.is_removed:
                return opened
            self._discard(file, shard)

    def forget(self) -> None:
        """See ``Files.forget``."""
        with self._lock:
            for file in list(self._shards):
                self._drop(file)

    def hold(self, files: Sequence[int]) -> None:
        """See ``Files.hold``."""
        with self._lock:
            held = frozenset(files)
            for file in (self._shards.keys() - held) | (held - self._held).intersection(self._shards):
                self._drop(file)
            self._held = held
            for file in files:
                self._begin(file)

    def fetching(self, firsts: np.ndarray) -> Fetching:
        """See ``Files.fetching``."""
        sizes = np.array([file.size for file in self._files], np.int64)
        return Fetching(
            where=self._where,
            firsts=firsts,
            sizes=sizes,
            capacity=self._cache.capacity,
            fetched=self._fetched,
        )

    def _begin(self, file: int) -> None:
        """Have a file fetched, unless it is there or under way, or no file."""
        if file in self._shards or file >= len(self._files):
            return
        shard = self._shards[file] = Future()
        self._waiting.append((file, shard))
        if self._threads < _AT_A_TIME:
            self._threads += 1
            threading.Thread(target=self._work, daemon=True, name="fetch").start()  # ends with the process

    def _trim(self) -> None:
        """Let go what nobody holds and was not used for the longest time."""
        loose = [file for file, shard in self._shards.items() if file not in self._held and shard.done()]
        for file in loose[: -self._most_open]:
            self._drop(file)

    def _drop(self, file: int) -> None:
        shard = self._shards.pop(file)
        if not shard.cancel() and shard.done() and shard.exception() is None:
            shard.result().let_go()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                file, shard = self._waiting.popleft()
            if shard.set_running_or_notify_cancel():
                self._fetch(file, shard)
            del shard  # and what it holds

    def _fetch(self, file: int, shard: Future[Shard]) -> None:
        about = self._files[file]

        def copy(out: BinaryIO) -> None:
            fetch(self._storage, about, out)
            with self._lock:
                self._fetched += about.size

        try:
            shard.set_result(self._cache.open(about, copy, hold=file in self._held))
        except BaseException as error:
            self._discard(file, shard)  # so that the next one tries again
            shard.set_exception(error)

    def _discard(self, file: int, shard: Future[Shard]) -> None:
        with self._lock:
            if self._shards.get(file) is shard:
                del self._shards[file]
