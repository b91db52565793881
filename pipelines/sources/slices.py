"""Samples that lie in large files, each a slice of one.

A slice is read, not mapped: a file that is cut short or vanishes under a run gives an error, where a memory
map ends the process. Reading leaves the GIL free.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from pipelines.files.patience import open_regular, read_at
from pipelines.sources.identity import printable
from pipelines.sources.source import Fetching

_MOST_OPEN = 512
_PIECE = 1 << 20  # bytes read ahead at a time


class FileName(Protocol):
    """A path, or the address of a file elsewhere; ``str`` gives the whole of it."""

    @property
    def name(self) -> str:
        """Its last part."""
        ...


class OpenFile:
    """An open file, closed when no thread uses it any more."""

    _close = staticmethod(os.close)  # the module's names are gone when Python ends

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        self._close(self.descriptor)


class Files(Protocol):
    """The files that slices lie in, by number. Safe to use from many threads."""

    def open(self, file: int) -> OpenFile:
        """Open a file, or hand it out again.

        Raises:
            OSError: it cannot be opened.
        """
        ...

    def forget(self) -> None:
        """Close all that no thread uses: an error may come of a stale file, or of too many."""
        ...

    def hold(self, files: Sequence[int]) -> None:
        """Have these files at hand, in this order; no others are needed soon."""
        ...

    def fetching(self, firsts: np.ndarray) -> Fetching | None:
        """Files to fetch; None where all is on this machine. ``firsts``: of it."""
        ...


class LocalFiles:
    """Files of this machine."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._opened = lru_cache(most_open())(lambda file: OpenFile(open_regular(paths[file])))

    def open(self, file: int) -> OpenFile:
        """See ``Files.open``."""
        return self._opened(file)

    def forget(self) -> None:
        """See ``Files.forget``."""
        self._opened.cache_clear()

    def hold(self, files: Sequence[int]) -> None:
        """See ``Files.hold``; they are here."""

    def fetching(self, firsts: np.ndarray) -> None:
        """See ``Files.fetching``; nothing is."""


def most_open() -> int:
    """Files to hold open at a time: a part of what the limit of descriptors allows."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_OPEN if descriptors < 0 else max(2, min(_MOST_OPEN, descriptors // 4))


class FileSlices:
    """N samples, each a slice of one of several files: base of sources. Safe to use from many threads.

    Args:
        paths: names of the files.
        counts: samples in each; they are numbered through the files.
        offsets: int64 [N], bytes from the beginning of the sample's file.
        lengths: int64 [N], bytes.
        files: opens them; None: the paths are of this machine.
    """

    def __init__(
        self,
        paths: Sequence[FileName],
        counts: Sequence[int],
        offsets: np.ndarray,
        lengths: np.ndarray,
        files: Files | None = None,
    ) -> None:
        self.paths = paths
        self._firsts = np.cumsum([0, *counts])
        self._offsets, self._lengths = offsets, lengths
        self._files = LocalFiles([Path(str(path)) for path in paths]) if files is None else files

    @property
    def fetching(self) -> Fetching | None:
        """See ``Fetches.fetching``."""
        return self._files.fetching(self._firsts)

    def place(self, index: int) -> tuple[int, int]:
        """The file that a sample lies in, and its index in that file."""
        file = int(np.searchsorted(self._firsts, index, side="right")) - 1
        return file, index - int(self._firsts[file])

    def stored(self, index: int) -> bytes:
        """The bytes of a sample.

        Raises:
            OSError: the file cannot be read, or is shorter than it was.
        """
        file, _ = self.place(index)
        return self._read(file, int(self._offsets[index]), int(self._lengths[index]))

    def hold(self, runs: np.ndarray) -> None:
        """See ``Fetches.hold``."""
        self._files.hold(files_of_runs(self._firsts, runs))

    def read_ahead(self, first: int, end: int) -> None:
        """Bring the samples from ``first`` to before ``end`` into the page cache, each file in one sweep.

        Raises:
            OSError: see ``stored``.
        """
        for file in range(self.place(first)[0], self.place(end - 1)[0] + 1):
            part = slice(max(first, int(self._firsts[file])), min(end, int(self._firsts[file + 1])))
            for start, stop in _runs(self._offsets[part], self._lengths[part]):
                for offset in range(start, stop, _PIECE):
                    self._read(file, offset, min(_PIECE, stop - offset))

    def _read(self, file: int, offset: int, length: int) -> bytes:
        try:
            opened = self._files.open(file)  # held, so that it is not closed while this thread reads
            data = read_at(opened.descriptor, offset, length)
        except OSError:
            self._files.forget()
            raise
        if len(data) < length:
            raise OSError(f"{printable(str(self.paths[file]))} has been cut short since it was opened")
        return data


def files_of_runs(firsts: np.ndarray, runs: np.ndarray) -> list[int]:
    """The files, each once, that runs of samples lie in, in the order of the runs.

    Args:
        firsts: int64 [files + 1], see ``Fetching.firsts``.
        runs: int64 [R, 2]: first sample, and past the last.
    """
    begins = np.searchsorted(firsts, runs[:, 0], side="right") - 1
    ends = np.searchsorted(firsts, runs[:, 1], side="left")
    found = (range(begin, end) for begin, end in zip(begins.tolist(), ends.tolist(), strict=True))
    return list(dict.fromkeys(file for files in found for file in files if firsts[file] < firsts[file + 1]))


def _runs(offsets: np.ndarray, lengths: np.ndarray) -> Iterator[tuple[int, int]]:
    """Begin and end of the stretches that slices make up, in order; small gaps are read over."""
    begins, ends = np.sort(offsets), np.sort(offsets + lengths)
    cuts = np.flatnonzero(begins[1:] > ends[:-1] + _PIECE)
    for run in np.split(np.arange(len(begins)), cuts + 1):
        if len(run):
            yield int(begins[run[0]]), int(ends[run[-1]])
