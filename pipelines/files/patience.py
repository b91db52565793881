"""Reading files that may fail: errors of the machine are waited out, and special files never block."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

# Errors that concern the file itself and stay; all others (EIO, EMFILE, ESTALE, ...) may pass.
_OF_THE_FILE = frozenset(
    [
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EACCES,
        errno.EPERM,
        errno.ENXIO,
        errno.EINVAL,
    ]
)
_PAUSES = (0.1, 0.4, 1.5, 5.0)  # seconds before the next try


def is_of_the_file(error: OSError) -> bool:
    """True if an error concerns the file itself (missing, forbidden), and trying again is of no use."""
    return error.errno is None or error.errno in _OF_THE_FILE


def with_patience(read: Callable[[], Result]) -> Result:
    """Call ``read``, and after an error of the machine again, with growing pauses, for seven seconds.

    Raises:
        OSError: the error of the last try, or one that concerns the file itself at once.
    """
    for pause in _PAUSES:
        try:
            return read()
        except OSError as error:
            if is_of_the_file(error):
                raise
        time.sleep(pause)
    return read()


def open_regular(path: str | Path) -> int:
    """Open a regular file for reading; returns its descriptor.

    Raises:
        OSError: it cannot be opened, or is a folder, a pipe or a device, on which nothing waits.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def read_whole(path: str | Path) -> bytes:
    """Read a regular file.

    Raises:
        OSError: see ``open_regular``, or it cannot be read.
    """
    descriptor = open_regular(path)
    try:
        return read_at(descriptor, 0, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def read_at(descriptor: int, offset: int, length: int) -> bytes:
    """Read ``length`` bytes of an open file; fewer where it ends before."""
    data = os.pread(descriptor, length, offset)
    if not data or len(data) == length:
        return data
    parts = [data]
    while data and (missing := length - sum(map(len, parts))):
        data = os.pread(descriptor, missing, offset + length - missing)
        parts.append(data)
    return b"".join(parts)
