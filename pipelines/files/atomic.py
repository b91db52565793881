"""Files that are whole or not there: written aside, flushed to the disk, renamed."""

from __future__ import annotations

import fcntl
import glob
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.files.process import lives


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write to, which becomes ``path`` when the block ends well.

    Until then, and after an exception or a kill, whatever stood at ``path`` stands there still. The parent
    folder is made where it is missing; what killed processes left aside is removed. Links are not followed:
    in a folder that others write to, one could point at any file of the user's.

    Raises:
        OSError: the folder or the disk refuses (full, read-only); nothing is left aside then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    aside = _aside(path)
    aside.unlink(missing_ok=True)
    try:
        with open(os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "w+b") as file:
            _hold(file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """An empty folder beside ``path`` to work in, on the same disk; it is removed in the end.

    Raises:
        OSError: it cannot be made.
    """
    remove_leftovers(path)
    folder = _aside(path)
    folder.mkdir()
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _hold(descriptor)
            yield folder
        finally:
            os.close(descriptor)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Remove what processes of this machine that were killed left aside of ``path``."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.{_HOST}-*.part"):
        pid = part.name.removesuffix(".part").rpartition("-")[2]
        if pid.isdecimal() and int(pid) != os.getpid() and not lives(int(pid)) and not _is_held(part):
            with suppress(OSError):
                shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()


_HOST = re.sub(r"[^\w]", "_", socket.gethostname())


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{_HOST}-{os.getpid()}.part")


def _hold(descriptor: int) -> None:
    """Lock what is aside: a process in another container, with process ids of its own, sees that it lives."""
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_held(part: Path) -> bool:
    try:
        descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return True  # gone already, or nothing of ours
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a whole file or leave the old one. Raises OSError, when the disk is full for instance."""
    with atomic_file(path) as file:
        file.write(content)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())
