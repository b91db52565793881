"""Looking at very many files from kernels, without Python's lock: the C library's functions, by their names.

A -1 does not say why: no such file, an error of the disk, an interrupt. Who must know asks again in Python.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
from numba import types

from pipelines.files.kernels import njit

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # nothing waits for a pipe
_BASIC_STATS = 0x7FF
_MODE, _SIZE, _CHANGED, _MODIFIED = 3, 5, 12, 14  # places in struct statx, in 64-bit words


def _external(name: str, result: types.Type, *arguments: types.Type) -> Callable[..., int]:
    """A function of the C library, for kernels."""
    function: Callable[..., int] = types.ExternalFunction(name, result(*arguments))
    return function


_statx = _external("statx", types.int32, types.int32, types.uintp, types.int32, types.uint32, types.uintp)
_open = _external("open", types.int32, types.uintp, types.int32)
_pread = _external("pread", types.intp, types.int32, types.uintp, types.uintp, types.int64)
_close = _external("close", types.int32, types.int32)


def pack_paths(paths: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Paths, which hold no NUL, one after the other as C has them: uint8 [n], and their begins, int64 [N]."""
    packed = np.frombuffer(bytearray(os.fsencode("\0".join([*paths, ""]))), np.uint8)  # a writable one
    return packed, np.concatenate([[0], np.flatnonzero(packed == 0) + 1])[: len(paths)]


@njit(cache=True, nogil=True)
def read_start(paths: np.ndarray, begin: int, data: np.ndarray) -> int:
    """Fill ``data`` (uint8 [n]) with the start of the file at a packed path. Returns their number, or -1."""
    descriptor = _open(paths[begin:].ctypes.data, _OPEN)
    if descriptor < 0:
        return -1
    read = _pread(descriptor, data.ctypes.data, len(data), 0)
    _close(descriptor)
    return int(read)


def stat_files(folder: str, names: Sequence[str]) -> np.ndarray:
    """Size in bytes, and times of the last change of the content and of anything at all, in nanoseconds.

    Args:
        folder: where they lie.
        names: of regular files, or links to some.

    Returns:
        int64 [N, 3]; -1 for a file that cannot be looked at, or is none.

    Raises:
        OSError: the folder cannot be opened.
    """
    out = np.full((len(names), 3), -1, np.int64)
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        _stat(descriptor, *pack_paths(names), out)
    finally:
        os.close(descriptor)
    return out


@njit(cache=True, nogil=True)
def _stat(folder: int, names: np.ndarray, begins: np.ndarray, out: np.ndarray) -> None:
    about = np.zeros(32, np.int64)
    for i in range(len(begins)):
        if _statx(folder, names[begins[i] :].ctypes.data, 0, _BASIC_STATS, about.ctypes.data) != 0:
            continue
        mode = (about[_MODE] >> 32) & 0o170000
        if mode != 0o100000:
            continue
        out[i, 0] = about[_SIZE]
        out[i, 1] = about[_MODIFIED] * 1_000_000_000 + (about[_MODIFIED + 1] & 0xFFFFFFFF)
        out[i, 2] = about[_CHANGED] * 1_000_000_000 + (about[_CHANGED + 1] & 0xFFFFFFFF)
