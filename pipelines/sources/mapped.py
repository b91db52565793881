"""Samples that lie in large files, read through memory maps.

Nothing is copied, and waiting for the disk leaves the GIL free.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numba import njit

from pipelines.sources.identity import printable

_MOST_MAPPED = 512  # held at a time: each takes a file descriptor, of which a process usually has 1024
_PIECE = 1 << 20  # bytes; of one request the kernel reads no more than about 2 MiB ahead


class MappedSamples:
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
        self._mapped = lru_cache(_MOST_MAPPED)(lambda file: _map_file(paths[file]))

    def find(self, number: int) -> tuple[int, int]:
        """The file that a sample lies in, and its number in that file."""
        file = int(np.searchsorted(self._firsts, number, side="right")) - 1
        return file, number - int(self._firsts[file])

    def read(self, number: int) -> memoryview:
        """The bytes of a sample, brought into memory.

        Raises:
            OSError: the file cannot be read, or is shorter than it was.
        """
        file, _ = self.find(number)
        return self._bring(file, int(self._offsets[number]), int(self._lengths[number]))

    def read_ahead(self, first: int, end: int) -> None:
        """Bring the samples from ``first`` to before ``end`` into memory, each file in one sweep.

        Raises:
            OSError: see ``read``.
        """
        for file in range(self.find(first)[0], self.find(end - 1)[0] + 1):
            part = slice(max(first, int(self._firsts[file])), min(end, int(self._firsts[file + 1])))
            for start, stop in _runs(self._offsets[part], self._lengths[part]):
                for offset in range(start, stop, _PIECE):
                    self._bring(file, offset, min(_PIECE, stop - offset))

    def _bring(self, file: int, offset: int, length: int) -> memoryview:
        mapped = self._mapped(file)
        view = memoryview(mapped)[offset : offset + length]
        if len(view) < length:
            raise OSError(f"{printable(str(self._paths[file]))} has been cut short since it was opened")
        if length:
            page = offset - offset % mmap.PAGESIZE
            mapped.madvise(mmap.MADV_WILLNEED, page, offset + length - page)  # one request, not one a page
            _touch(np.frombuffer(view, np.uint8))
        return view


def _runs(offsets: np.ndarray, lengths: np.ndarray) -> Iterator[tuple[int, int]]:
    """Begin and end of the stretches that slices make up, in order; small gaps are read over."""
    begins, ends = np.sort(offsets), np.sort(offsets + lengths)
    cuts = np.flatnonzero(begins[1:] > ends[:-1] + _PIECE)
    for run in np.split(np.arange(len(begins)), cuts + 1):
        if len(run):
            yield int(begins[run[0]]), int(ends[run[-1]])


def _map_file(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # what Python makes of an empty file
            raise OSError(f"{path} is empty") from None


@njit(cache=True, nogil=True)
def _touch(data: np.ndarray) -> int:
    """Read a byte of each page, so that waiting for the disk is done here, where the GIL is free."""
    total = int(data[-1])
    for i in range(0, len(data), 4096):
        total += data[i]
    return total
