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

import numpy as np

from pipelines.files.patience import open_regular, read_at
from pipelines.sources.identity import printable

_MOST_OPEN = 512  # files held open at a time, where the limit of descriptors allows
_PIECE = 1 << 20  # bytes read ahead at a time


class FileSlices:
    """N samples, each a slice of one of several files. Safe to use from many threads.

    Args:
        paths: the files.
        counts: samples in each; they are numbered through the files.
        offsets: int64 [N], bytes from the beginning of the sample's file.
        lengths: int64 [N], bytes.
    """

    def __init__(
        self, paths: Sequence[Path], counts: Sequence[int], offsets: np.ndarray, lengths: np.ndarray
    ) -> None:
        self._paths = paths
        self._firsts = np.cumsum([0, *counts])
        self._offsets, self._lengths = offsets, lengths
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = _MOST_OPEN if descriptors < 0 else max(1, min(_MOST_OPEN, descriptors // 4))
        self._opened = lru_cache(most)(lambda file: _OpenFile(paths[file]))

    def find(self, index: int) -> tuple[int, int]:
        """The file that a sample lies in, and its index in that file."""
        file = int(np.searchsorted(self._firsts, index, side="right")) - 1
        return file, index - int(self._firsts[file])

    def read(self, index: int) -> bytes:
        """The bytes of a sample.

        Raises:
            OSError: the file cannot be read, or is shorter than it was.
        """
        file, _ = self.find(index)
        return self._read(file, int(self._offsets[index]), int(self._lengths[index]))

    def read_ahead(self, first: int, end: int) -> None:
        """Bring the samples from ``first`` to before ``end`` into the page cache, each file in one sweep.

        Raises:
            OSError: see ``read``.
        """
        for file in range(self.find(first)[0], self.find(end - 1)[0] + 1):
            part = slice(max(first, int(self._firsts[file])), min(end, int(self._firsts[file + 1])))
            for start, stop in _runs(self._offsets[part], self._lengths[part]):
                for offset in range(start, stop, _PIECE):
                    self._read(file, offset, min(_PIECE, stop - offset))

    def _read(self, file: int, offset: int, length: int) -> bytes:
        try:
            opened = self._opened(file)  # held, so that it is not closed while this thread reads
            data = read_at(opened.descriptor, offset, length)
        except OSError:
            self._opened.cache_clear()  # of a stale or lost file, and descriptors where there are too many
            raise
        if len(data) < length:
            raise OSError(f"{printable(str(self._paths[file]))} has been cut short since it was opened")
        return data


class _OpenFile:
    """An open file, closed when no thread uses it any more."""

    _close = staticmethod(os.close)  # the module's names are gone when Python ends

    def __init__(self, path: Path) -> None:
        self.descriptor = -1
        self.descriptor = open_regular(path)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            self._close(self.descriptor)


def _runs(offsets: np.ndarray, lengths: np.ndarray) -> Iterator[tuple[int, int]]:
    """Begin and end of the stretches that slices make up, in order; small gaps are read over."""
    begins, ends = np.sort(offsets), np.sort(offsets + lengths)
    cuts = np.flatnonzero(begins[1:] > ends[:-1] + _PIECE)
    for run in np.split(np.arange(len(begins)), cuts + 1):
        if len(run):
            yield int(begins[run[0]]), int(ends[run[-1]])
