"""Heights and widths of image files, from their headers, kept while a file is as it was."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.progress import map_chunks_in_threads
from pipelines.command.text import visible
from pipelines.decode.header import UndecodableImageError, image_size_of_file
from pipelines.decode.header_kernel import jpeg_sizes
from pipelines.files.kernels import njit
from pipelines.files.patience import is_of_the_file, with_patience
from pipelines.files.system_calls import pack_paths
from pipelines.keys import absorb
from pipelines.sources.cache import load_arrays, save_arrays
from pipelines.sources.identity import printable
from pipelines.sources.image_files import ImageFiles

_HEADERS_AT_A_TIME, _MARKED_AT_A_TIME = 256, 1 << 16


def image_sizes(root: Path, files: ImageFiles, kept: Path) -> tuple[np.ndarray, np.ndarray]:
    """Heights and widths (int32 [N]) from the cache file ``kept`` and, of the others, from their headers.

    An unreadable header gives 0.

    Args:
        root: folder that the files' paths start from.
        files: whose sizes are wanted.
        kept: cache file.

    Raises:
        UserError: an error of the disk.
    """
    marks = _marks(files)
    sizes = np.zeros((len(files), 2), np.int32)
    stored = load_arrays(kept, ("marks", "sizes"))
    if stored is not None and _are_sizes(stored["marks"], stored["sizes"]):
        found, known = _places(stored["marks"], marks)
        sizes[known] = stored["sizes"][found[known]]
    unknown = np.flatnonzero(sizes[:, 0] == 0)
    if len(unknown):
        paths = [os.path.join(root, files.paths[index]) for index in unknown.tolist()]
        parts = map_chunks_in_threads(sizes_from_headers, paths, "Reading headers", chunk=_HEADERS_AT_A_TIME)
        sizes[unknown] = np.concatenate(parts)
        good = sizes[:, 0] > 0  # an unreadable one is looked at again next time
        save_arrays(kept, {"marks": marks[good], "sizes": sizes[good]})
    return sizes[:, 0].copy(), sizes[:, 1].copy()


def _places(stored: np.ndarray, marks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of marks among those stored, int64 [N], and whether they are there, bool [N]."""
    if np.array_equal(stored, marks):  # nothing has changed, as nearly always
        return np.arange(len(marks)), np.ones(len(marks), bool)
    order = np.argsort(stored)
    found = order[np.minimum(np.searchsorted(stored, marks, sorter=order), len(order) - 1)]
    return found, stored[found] == marks


def sizes_from_headers(paths: Sequence[str]) -> np.ndarray:
    """Heights and widths, int32 [N, 2]; 0 where a header is unreadable."""
    sizes = jpeg_sizes(paths)
    for index in np.flatnonzero(sizes[:, 0] == 0).tolist():
        sizes[index] = _size_or_zero(paths[index])
    return sizes


def _marks(files: ImageFiles) -> np.ndarray:
    """Hashes (int64 [N]) of paths with sizes and times of change."""
    marks = np.empty(len(files), np.int64)
    for first in range(0, len(files), _MARKED_AT_A_TIME):
        some = slice(first, first + _MARKED_AT_A_TIME)
        _mark(*pack_paths(files.paths[some]), files.about[some], marks[some])
    return marks


@njit(cache=True)
def _mark(paths: np.ndarray, begins: np.ndarray, about: np.ndarray, marks: np.ndarray) -> None:
    for i in range(len(begins)):
        state, place = np.uint64(0), begins[i]
        while paths[place] != 0:
            state, place = absorb(state, paths[place]), place + 1
        for number in about[i]:
            state = absorb(state, number)
        marks[i] = np.int64(state)


def _are_sizes(marks: np.ndarray, sizes: np.ndarray) -> bool:
    """True if the arrays of a cache file fit together, and hold anything."""
    types = (marks.dtype, sizes.dtype) == (np.dtype(np.int64), np.dtype(np.int32))
    return types and marks.ndim == 1 and sizes.shape == (len(marks), 2) and len(marks) > 0


def _size_or_zero(path: str) -> tuple[int, int]:
    try:
        return with_patience(lambda: image_size_of_file(path))
    except UndecodableImageError:
        return 0, 0
    except OSError as error:
        if is_of_the_file(error):
            return 0, 0
        shown = visible(printable(path))
        raise UserError(f"cannot read {shown}: {error.strerror}; start the same command again") from None
