"""The cache folder: what was found out about data sets, kept outside them.

Everything in it may be deleted at any time. Arrays are kept as ``.npz`` without pickle.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from pipelines.files.atomic import atomic_file
from pipelines.files.patience import open_regular


def cache_file(cache: Path, kind: str, path: Path) -> Path:
    """The file of the cache folder for what is known of ``path``, a folder or shard, as one ``kind``."""
    digest = hashlib.blake2b(os.fsencode(path.resolve()), digest_size=10).hexdigest()
    return cache / f"{kind}-{digest}.npz"


def load_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    """The arrays of a cache file by name; None where there is none, or a broken or an older one."""
    try:
        with open(open_regular(path), "rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in names}
    except Exception:  # a damaged file: numpy and zipfile raise a dozen kinds
        return None
    whole = all(isinstance(array, np.ndarray) for array in arrays.values())  # numpy hands out bytes as well
    return arrays if whole else None


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a cache file, atomically. Where that is impossible, say so on stderr and go on without."""
    try:
        with atomic_file(path) as file:
            np.savez(file, allow_pickle=False, **arrays)
    except OSError as error:
        print(
            f"warning: cannot write the cache {path}: {error.strerror}; the data will be indexed anew "
            "next time (set FASTSSL_CACHE to a writable folder)",
            file=sys.stderr,
        )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, among all threads and processes of this machine; it ends with its process.

    On a file system without locks two may hold it at once.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW  # a link could point at any file
    descriptor = os.open(path, flags, 0o666)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def pack_strings(strings: list[str]) -> np.ndarray:
    """File names and keys (which hold no NUL) as one array, uint8 [n]."""
    text = "".join(f"{string}\0" for string in strings)
    return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)


def unpack_strings(packed: np.ndarray) -> list[str]:
    """The inverse of ``pack_strings``."""
    return packed.tobytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
