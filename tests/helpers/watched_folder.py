"""A folder whose size is watched while others write to it and remove from it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def largest_size(folder: Path, pattern: str) -> Iterator[list[int]]:
    """Watch a folder while the block runs: the most bytes that its files of a pattern had at one moment."""
    most, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.001):
            before, after = _files(folder, pattern), _files(folder, pattern)
            both = after.keys() & before.keys()  # there when the first look ended
            most[0] = max(most[0], sum(after[file] for file in both))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def _files(folder: Path, pattern: str) -> dict[tuple[str, int, int], int]:
    """Bytes of each file, by name, inode (which the next file may get) and age."""
    sizes = {}
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):  # removed meanwhile
            about = path.stat()
            sizes[path.name, about.st_ino, about.st_mtime_ns] = about.st_size
    return sizes
