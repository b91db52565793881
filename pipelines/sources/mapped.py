"""Files read through memory maps: no copies, and waiting for the disk leaves the GIL free."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numba import njit

_MOST_MAPPED = 512  # held at a time: each takes a file descriptor, of which a process usually has 1024
_PIECE = 1 << 20  # bytes; of one request the kernel reads no more than about 2 MiB ahead


class MappedFiles:
    """Files by number, each mapped when it is first read. Safe to use from many threads."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._mapped = lru_cache(_MOST_MAPPED)(lambda number: _map_file(paths[number]))

    def read(self, number: int, offset: int, length: int) -> memoryview:
        """A slice of a file, brought into memory; shorter than ``length`` where the file is cut short.

        Raises:
            OSError: the file cannot be opened or mapped.
        """
        mapped = self._mapped(number)
        view = memoryview(mapped)[offset : offset + length]
        if len(view):
            page = offset - offset % mmap.PAGESIZE
            mapped.madvise(mmap.MADV_WILLNEED, page, offset + len(view) - page)  # one request, not one a page
            _touch(np.frombuffer(view, np.uint8))
        return view

    def read_ahead(self, number: int, offset: int, length: int) -> None:
        """Bring a long slice into memory, in order, for reads to come.

        Raises:
            OSError: the file cannot be opened or mapped.
        """
        for begin in range(offset, offset + length, _PIECE):
            self.read(number, begin, min(_PIECE, offset + length - begin))


def _map_file(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@njit(cache=True, nogil=True)
def _touch(data: np.ndarray) -> int:
    """Read a byte of each page, so that waiting for the disk is done here, where the GIL is free."""
    total = 0
    for i in range(0, len(data), 4096):
        total += data[i]
    return total
